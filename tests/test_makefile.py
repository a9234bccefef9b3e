# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the Makefile leaves out on the official stack is there to be left out."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_every_file_that_the_official_stack_leaves_out_exists():
    show = "show: ; @echo $(HOST_FREE)"
    done = subprocess.run(
        ["make", "-s", f"--eval={show}", "show"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    names = done.stdout.split()
    assert len(names) > 20
    assert [name for name in names if not (ROOT / name).exists()] == []
