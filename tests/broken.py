# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a file of a run can be instead of what a run writes."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

SPARSE = 60 << 30  # bytes that take no room


def _bytes(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


def _sparse(file: Path) -> None:
    with open(file, "wb") as opened:
        opened.truncate(SPARSE)


CONTENTS: dict[str, Callable[[Path], object]] = {
    "empty": _bytes(b""),
    "cut": _bytes(b'{"epoch": 1, "x": ["a"'),
    "list": _bytes(b"[]\n"),
    "null": _bytes(b"null\n"),
    "bytes": _bytes(b"\x80\x04\x95\xff\x00\xfe"),
    "deep": _bytes(b"[" * 100_000),
    "deep_minus": _bytes(b"x = " + b"-" * 100_000 + b"1"),
    "nan": _bytes(b'{"epoch": NaN, "iter": NaN, "step": NaN, "seconds": NaN, "epochs": NaN}\n'),
    "huge": _bytes(b'{"epoch": 1e308, "step": 1, "lr": 1, "iter": 1, "loss": 1e308}\n' * 2),
    "digits": _bytes(b'{"epoch": 1, "iter": 4, "step": 1, "seconds": ' + b"9" * 400 + b"}\n"),
    "texts": _bytes(b'{"epoch": "x", "iter": "y", "step": "z", "seconds": "s", "path": "p"}\n'),
    "slash": _bytes(b"/\n"),
    "fifo": os.mkfifo,
    "device": lambda file: file.symlink_to("/dev/zero"),
    "loop": lambda file: file.symlink_to(file.name),
    "folder": Path.mkdir,
    "sparse": _sparse,
}
NO_FILES = ("fifo", "device", "loop", "folder", "sparse")


def put(kind: str, file: Path) -> None:
    """Puts it in the place of a file."""
    if file.is_dir() and not file.is_symlink():
        shutil.rmtree(file)
    file.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    CONTENTS[kind](file)
