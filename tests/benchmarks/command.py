# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Runs a benchmark of benchmarks/."""

import sys

from ..forked import Forked
from ..tool_modules import ROOT

BENCHMARKS = ROOT / "benchmarks"


def run(name: str, *arguments) -> None:
    """In a process of its own: it forks, which torch refuses after some backward passes."""
    with Forked([sys.executable, BENCHMARKS / f"{name}.py", *arguments]) as process:
        assert process.wait(600) == 0
