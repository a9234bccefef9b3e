# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Tests that no GPU has run yet are run as far as a CPU can stand in for one."""

import re
from pathlib import Path

import pytest
import torch

from .forked import run_program
from .gpu_stand_in import ONLY_ON_A_GPU

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="they run on the GPU itself")
def test_tests_for_a_gpu_pass_on_a_cpu_that_stands_in_for_one(monkeypatch):
    files = [
        f for f in (ROOT / "tests").rglob("test_*.py") if "\n@pytest.mark.gpu" in f.read_text()
    ]
    words = [
        "-m",
        "gpu",
        "-p",
        "tests.gpu_stand_in",
        "-p",
        "no:cacheprovider",
        "-v",
        *map(str, files),
    ]
    monkeypatch.chdir(ROOT)
    done = run_program(Path(pytest.__file__).with_name("__main__.py"), *words)
    outcomes = dict(re.findall(r"::(test_\S+) (PASSED|FAILED|ERROR|SKIPPED)", done.stdout))
    assert done.returncode == 0, done.stdout[-3000:]
    skipped = {name for name, outcome in outcomes.items() if outcome == "SKIPPED"}
    assert all(name.startswith(ONLY_ON_A_GPU) for name in skipped)
    assert len(outcomes) - len(skipped) >= 8
