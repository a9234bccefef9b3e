# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The command `xmoco`. Outside of the package, whose import brings the hosts and takes seconds."""

import sys
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path


def run(command: str) -> int:
    """Runs a command of xmoco_plugin on this process's arguments; returns the exit status."""
    package = find_spec("xmoco_plugin")  # found, not imported
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'xmoco_plugin'", name="xmoco_plugin")
    door = run_path(str(Path(package.origin).parent / "cli" / "door.py"))
    return door["main"](command, sys.argv[1:], sys.argv[0])
