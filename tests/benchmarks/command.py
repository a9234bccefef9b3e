# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Runs a benchmark of benchmarks/."""

import os
import subprocess
import sys

from ..tool_modules import ROOT

BENCHMARKS = ROOT / "benchmarks"


def run(name: str, *arguments) -> None:
    """In a process of its own: it forks, which torch refuses after some backward passes."""
    subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        timeout=600,
    )
