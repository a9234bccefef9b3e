# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run of pretrain.py that is done."""

import sys
from pathlib import Path

import pytest

from ..tool_modules import import_tool, run_tool
from . import good
from .way import RUN


def done_run(folder: Path) -> Path:
    """Made in this process but for its training, which is an epoch in one of its own."""
    good.folder(folder / "images")
    tool = import_tool("pretrain")
    with pytest.MonkeyPatch.context() as patch:
        words = ["--data", folder / "images", "--out", folder / "run", *RUN]
        assert run_tool(tool, patch, *words) == 0, sys.stderr
    return folder / "run"
