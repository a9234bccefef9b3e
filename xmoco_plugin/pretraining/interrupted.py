# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a start that was killed, or a disk that was full, leaves in the folder of a run."""

import os
import re
import shutil
import sys
import time
from pathlib import Path

from ..untrusted import printable
from ..weights import go_on_from

ASIDE = ".broken"  # behind the name of a checkpoint that is not whole
TEMPORARY = re.compile(r"\..+\.\d+\.tmp")  # as `checkpoint.write_atomic` names them


def set_aside(folder: Path) -> Path | None:
    """The checkpoint to go on from; later ones that are not whole are renamed, which is said.

    Only for the one process that holds the folder.

    Raises:
        FileRefusedError: As :func:`weights.go_on_from`.
    """
    found = go_on_from(folder)
    for line in found.said():
        print(line, file=sys.stderr, flush=True)
    for file, _ in found.passed_over:
        os.replace(file, file.with_name(f"{file.name}{ASIDE}"))
        print(f"  kept as {printable(file.name)}{ASIDE}", file=sys.stderr, flush=True)
    return found.checkpoint


def remove_temporary(folder: Path, older: float = 0.0) -> None:
    """Removes half-written files of processes that were killed, and says how many and how large.

    Only for the one process that holds the folder, or of files that nobody writes any more.

    Args:
        folder: Of a run.
        older: Seconds since a file was last written to.
    """
    now = time.time()
    left = [
        file
        for file in folder.iterdir()
        if TEMPORARY.fullmatch(file.name) and not file.is_symlink()
        if file.is_file() or file.is_dir()
        if not older or now - file.stat().st_mtime > older
    ]
    size = sum(file.stat().st_size for file in left if file.is_file())
    for file in left:
        if file.is_dir():  # of a name of last_checkpoint
            shutil.rmtree(file)
        else:
            file.unlink()
    if left:
        print(
            f"removed {len(left):,} half-written files of a start that was killed, "
            f"{size / 1e6:,.1f} MB",
            file=sys.stderr,
            flush=True,
        )
