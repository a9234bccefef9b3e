# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Shows what a look at data found: a short table, and a file with every name."""

from collections.abc import Sequence
from pathlib import Path

from xmoco_plugin.checkpoint import write_text
from xmoco_plugin.cli import exits
from xmoco_plugin.findings import SHOWN, Finding, table

FILE = "data.txt"


def show(found: Sequence[Finding], folder: Path | None) -> None:
    """Prints the table; whole it is in `folder`, where one is named.

    Nothing where there are no findings, in the other processes of a training, and where another
    tool started this one, which has shown the same.
    """
    if not found or not exits.speaks():
        return
    print(table(found), flush=True)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / FILE, table(found, most=None) + "\n")
        if any(len(row.names) > SHOWN for row in found):
            print(f"with every name: {folder / FILE}", flush=True)
