# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The shell scripts of tools/: how they are called, and which Python they start."""

import shutil
import subprocess
from pathlib import Path

import pytest

from .tool_modules import ROOT


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh", "slurm_train.sh"])
def test_shell_tools_without_arguments_say_how_to_call_them(script):
    done = subprocess.run(
        ["bash", str(ROOT / "tools" / script)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


@pytest.mark.parametrize(
    "script", ["dist_train.sh", "dist_test.sh", "slurm_train.sh", "transfer.sh"]
)
def test_shell_tools_start_the_named_python_else_the_checkouts_else_paths(script, tmp_path):
    folder = shutil.copytree(ROOT / "tools", tmp_path / "a checkout" / "tools")
    (tmp_path / "bin").mkdir()

    def program(path: Path, does: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{does}\n")
        path.chmod(0o755)
        return path

    def started(**env: str) -> str:
        done = subprocess.run(
            ["bash", folder / script, "partition", "2", "2", "work"],
            env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", **env},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # Slurm's srun starts the program that stands behind its options.
    program(tmp_path / "bin" / "srun", 'while [[ $1 != *python ]]; do shift; done; exec "$@"')
    program(tmp_path / "bin" / "python", "echo of PATH")
    assert started() == "of PATH\n"
    program(folder.parent / ".venv" / "bin" / "python", "echo of the checkout")
    assert started() == "of the checkout\n"
    other = program(tmp_path / "another" / "python", "echo of the environment")
    assert started(PYTHON=str(other)) == "of the environment\n"
