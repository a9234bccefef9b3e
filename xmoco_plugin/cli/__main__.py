# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""`python -m xmoco_plugin.cli COMMAND ...`; also run by its path, which imports nothing before."""

import sys
from importlib.util import find_spec
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

if __name__ == "__main__":
    if not __package__:  # by its path: its folder, whose names are no top-level modules, is there
        sys.path.remove(str(FOLDER))
        if find_spec("xmoco_plugin") is None:
            sys.path.append(str(FOLDER.parents[1]))
    from runpy import run_path

    sys.exit(run_path(str(FOLDER / "door.py"))["main"](sys.argv[1], sys.argv[2:], "xmoco"))
