# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A shard is a plain tar, as WebDataset and tar(1) read it: writing one, finding its files."""

import io
import os
import re
import tarfile
from collections.abc import Sequence

import numpy as np

from .errors import ShardError

BLOCK = 512
LONGEST = 1 << 16  # bytes of a name
OCTAL = re.compile(rb"[0-7]+")


def make_tar(files: Sequence[tuple[str, bytes]]) -> bytes:
    """The same bytes for the same files, whenever and by whomever they are packed."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in files:
            head = tarfile.TarInfo(name.replace(os.sep, "/"))
            head.size = len(content)
            tar.addfile(head, io.BytesIO(content))
    return out.getvalue()


def find_files(tar: np.ndarray) -> np.ndarray:
    """Where the files of a tar lie, without reading them.

    Args:
        tar: (bytes,) uint8, may be memory-mapped.

    Returns:
        (n, 3) int64: where its headers begin, where its content begins, bytes of it.

    Raises:
        ShardError: It is no tar that we write.
    """
    rows, place, begin = [], 0, 0
    while place + BLOCK <= len(tar):
        head = bytes(tar[place : place + BLOCK])
        if not head.strip(b"\0"):
            break
        size, kind = _size(head), head[156:157]
        content = place + BLOCK
        if head[257:262] != b"ustar" or size is None or content + size > len(tar):
            raise ShardError(f"it is no whole tar: byte {place:,} begins no file")
        if kind in (b"0", b"\0"):
            rows.append((begin, content, size))
        elif kind != b"x":
            raise ShardError(f"it holds something else than files at byte {place:,}")
        place = content + -(-size // BLOCK) * BLOCK
        if kind != b"x":
            begin = place
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def name_of(tar: np.ndarray, begin: int) -> str:
    """Name of the file whose headers begin there."""
    head = bytes(tar[begin : begin + BLOCK])
    if head[156:157] == b"x":
        size = _size(head) or 0
        for key, value in _records(bytes(tar[begin + BLOCK : begin + BLOCK + min(size, LONGEST)])):
            if key == b"path":
                return os.fsdecode(value)
        begin += BLOCK + -(-size // BLOCK) * BLOCK
        head = bytes(tar[begin : begin + BLOCK])
    name, folder = (part.split(b"\0")[0] for part in (head[:100], head[345:500]))
    return os.fsdecode(folder + b"/" + name if folder else name)


def _size(head: bytes) -> int | None:
    digits = head[124:136].strip(b" \0")  # int() alone would take a sign too
    return int(digits, 8) if OCTAL.fullmatch(digits) else None


def _records(text: bytes) -> list[tuple[bytes, bytes]]:
    """Keys and values of an extended header: lines of 'LENGTH KEY=VALUE'."""
    found = []
    while text:
        digits = text.partition(b" ")[0]
        length = int(digits) if digits.isdigit() else 0
        if not len(digits) < length <= len(text):
            break
        key, _, value = text[len(digits) + 1 : length - 1].partition(b"=")
        found.append((key, value))
        text = text[length:]
    return found
