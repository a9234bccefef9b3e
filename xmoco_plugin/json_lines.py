# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .untrusted import FileRefusedError, parse_json, read_text


def parse_json_lines(text: str) -> tuple[list[dict], int]:
    """Objects in a text of JSON lines, and how many lines are cut off or no object.

    Numbers may be NaN or infinite, which Python's JSON writes; an integer beyond the range of a
    float is infinite, too.
    """
    entries, broken = [], 0
    for line in filter(str.strip, text.splitlines()):
        try:
            entry = parse_json(line, finite=False)
        except FileRefusedError:
            entry = None  # of a run that was killed while it wrote
        if isinstance(entry, dict):
            entries.append(entry)
        else:
            broken += 1
    return entries, broken


def read_json_lines(path: str | Path) -> tuple[list[dict], int]:
    """What :func:`parse_json_lines` finds in a file.

    Raises:
        FileRefusedError: It is no regular file, too large, or reading fails.
    """
    return parse_json_lines(read_text(path))


def append_json_line(entry: Mapping[str, Any], path: Path) -> None:
    """Add a line to a file; it is on the disk when this returns.

    Raises:
        ValueError: A number is NaN or infinite, which JSON does not have; nothing is written.
    """
    data = (json.dumps(entry, allow_nan=False) + "\n").encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        before = os.fstat(descriptor).st_size
        written = os.write(descriptor, data)  # one call: a reader sees all of it or nothing
        if written < len(data):  # the disk is full: the next line must not join a torn one
            os.ftruncate(descriptor, before)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
