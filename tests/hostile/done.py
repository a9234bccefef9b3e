# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run of pretrain.py that is done."""

from pathlib import Path

from ..forked import pretrain
from . import good
from .way import RUN


def done_run(folder: Path) -> Path:
    """Made in this process but for its training, which is an epoch in one of its own."""
    good.folder(folder / "images")
    done = pretrain("--data", folder / "images", "--out", folder / "run", *RUN)
    assert done.returncode == 0, done.stderr[-4000:]
    return folder / "run"
