# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Arrays of a numpy archive that anybody may have made: what they claim is judged before memory."""

import contextlib
import math
import zipfile
import zlib
from collections.abc import Collection, Iterator
from typing import BinaryIO

import numpy as np

from ..untrusted.files import size_text

NPZ_LIMIT = 32_000_000_000  # bytes of its arrays, which are held in memory (ours)

# What reading an archive raises on damage; RuntimeError of what it does not know, or is encrypted.
NPZ_DAMAGES = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError)


def read_npz(
    file: BinaryIO, wanted: Collection[str], limit: int = NPZ_LIMIT
) -> tuple[list[str], dict[str, np.ndarray]]:
    """Reads arrays of an archive; nothing is unpickled.

    Args:
        file: The archive, open.
        wanted: Names of arrays.
        limit: Bytes that the wanted arrays may have together.

    Returns:
        Names of all arrays; the wanted ones that are there.

    Raises:
        ValueError: It is no archive of plain arrays, one says that it has other bytes than the
            archive has of it, or they are above the limit.
        Exception: Of the other ``NPZ_DAMAGES``: it is damaged.
    """
    with zipfile.ZipFile(file) as archive:
        members = {
            info.filename.removesuffix(".npy"): info
            for info in archive.infolist()
            if info.filename.endswith(".npy")
        }
        chosen = [name for name in members if name in wanted]
        total = sum(members[name].file_size for name in chosen)
        if total > limit:
            raise ValueError(
                f"its arrays have {size_text(total)}, the limit is {size_text(limit)} (max_bytes)"
            )
        for name in chosen:
            with _said_to_end_early(name):
                _check_header(archive, members[name])
        found = {}
        for name in chosen:
            with archive.open(members[name]) as content:
                with _said_to_end_early(name):
                    found[name] = np.lib.format.read_array(content, allow_pickle=False)
                if content.read(1):
                    raise ValueError(f"the array {name!r} has more bytes than its shape takes")
        return list(members), found


@contextlib.contextmanager
def _said_to_end_early(name: str) -> Iterator[None]:
    """Gives zipfile's EOFError, which says nothing, its words."""
    try:
        yield
    except EOFError as error:
        raise EOFError(str(error) or f"the array {name!r} ends early") from None


def _check_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    """Compares the shape that an array says it has with the bytes that the archive has of it."""
    with archive.open(info) as content:
        version = np.lib.format.read_magic(content)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(content)
        elif version == (2, 0):
            shape, _, dtype = np.lib.format.read_array_header_2_0(content)
        else:
            raise ValueError(f"an array of version {version[0]}.{version[1]}")
        needed = math.prod(shape) * dtype.itemsize
        if not dtype.hasobject and needed != info.file_size - content.tell():
            raise ValueError(
                f"the array {info.filename.removesuffix('.npy')!r} says it has {size_text(needed)}"
                f", the archive has {size_text(info.file_size - content.tell())} of it"
            )
