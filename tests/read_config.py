# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Configs of this repository, each read once for all tests of a process."""

import copy
import functools
from pathlib import Path

from mmengine.config import Config


def read_config(path: Path) -> Config:
    """The config of a file, the caller's own: the host reads all its package's lists for a base."""
    return copy.deepcopy(_read(Path(path)))


@functools.cache
def _read(path: Path) -> Config:
    return Config.fromfile(path)
