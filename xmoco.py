# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The command `xmoco`. Outside of the package, whose import brings the hosts and takes seconds."""

import sys
from importlib.util import find_spec
from pathlib import Path
from runpy import run_path
from typing import Any


def door() -> dict[str, Any]:
    """The names of xmoco_plugin/cli/door.py; the package is found, not imported.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    package = find_spec("xmoco_plugin")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("No module named 'xmoco_plugin'", name="xmoco_plugin")
    return run_path(str(Path(package.origin).parent / "cli" / "door.py"))


def main() -> int:
    """Runs the command that stands on this process's command line; returns the exit status."""
    return door()["main"](sys.argv[1:])


def run(command: str) -> int:
    """Runs one command on this process's arguments, as tools/ does; returns the exit status."""
    return door()["run"](command, sys.argv[1:], Path(sys.argv[0]).name)


if __name__ == "__main__":
    sys.exit(main())
