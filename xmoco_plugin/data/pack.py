# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Reading a pack: a folder of images in a few memory-mapped files.

``data.bin`` holds one image after the other, as encoded files or as raw rows of BGR bytes;
``records.npy`` says where each is, how large and with which CRC-32; ``names.bin`` holds the paths
below the source folder, UTF-8, one a line; ``pack.json`` says what it is.
"""

import os
import tokenize
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..untrusted import FileRefusedError, printable, read_json_object, refusal

FORMAT = 1
BLOCK = 1 << 20  # records that are looked at together
# What numpy raises, beside ValueError, of a header that is no Python literal.
ODD_HEADER = (tokenize.TokenError, SyntaxError)
RECORD = np.dtype(
    [
        ("offset", "<u8"),  # in data.bin, bytes
        ("length", "<u8"),
        ("name", "<u8"),  # offset in names.bin
        ("crc", "<u4"),
        ("height", "<u4"),  # of raw images, else 0
        ("width", "<u4"),
        ("label", "<i4"),  # -1: none
    ]
)


class PackError(ValueError):
    """A pack that cannot be read or written; the message says what to do."""


class Pack:
    """A finished pack, open for reading. It is pickled as its path: processes share the pages.

    Args:
        path: folder that ``xmoco pack`` wrote.

    Attributes:
        facts: contents of ``pack.json``.
        records: (N,) of ``RECORD``, memory-mapped.

    Raises:
        PackError: there is none, it is unfinished, of another format, or a file is cut.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.facts = read_facts(self.path)
        try:
            for name in ("records.npy", "names.bin", "data.bin"):
                if reason := refusal(self.path / name):
                    raise ValueError(f"{name}: {reason}")
            self.records = np.load(self.path / "records.npy", mmap_mode="r", allow_pickle=False)
            self._names = np.memmap(self.path / "names.bin", np.uint8, "r")
            self._data = np.memmap(self.path / "data.bin", np.uint8, "r")
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, *ODD_HEADER) as error:
            raise PackError(
                f"{self.path}: a file of the pack is missing or cut: {error}"
            ) from error
        if not isinstance(self.records, np.ndarray) or self.records.ndim != 1:
            raise PackError(
                f"{self.path}: records.npy is no list of records: pack the folder again"
            )
        if self.records.dtype != RECORD or len(self._data) != self.facts["bytes"]:
            raise PackError(
                f"{self.path}: data.bin holds {len(self._data):,} bytes where pack.json says "
                f"{self.facts['bytes']:,}: pack the folder again"
            )
        if (bad := self._first_outside()) is not None:
            raise PackError(
                f"{self.path}: record {bad:,} leads outside the pack's files: the pack is damaged "
                "or made to do harm; pack the folder again"
            )

    def _first_outside(self) -> int | None:
        """The first record whose offset, length, name, shape or label cannot be; None for none."""
        for start in range(0, len(self), BLOCK):  # copies of all would be what the files spare
            part = self.records[start : start + BLOCK]
            size, area = len(self._data), part["height"].astype(np.uint64) * part["width"]
            fits = (part["length"] <= size) & (part["offset"] <= size - part["length"])
            fits &= part["name"] < len(self._names)
            fits &= (part["label"] >= -1) & (part["label"] < len(self.facts["classes"]))
            if self.raw:
                fits &= (area < 1 << 60) & (3 * area == part["length"]) & (area > 0)
            if not fits.all():
                return start + int(fits.argmin())
        return None

    def __len__(self) -> int:
        return len(self.records)

    def __reduce__(self) -> tuple:
        return Pack, (self.path,)

    @property
    def raw(self) -> bool:
        """Whether images are rows of pixels, not encoded files."""
        return self.facts["kind"] == "raw"

    def name(self, row: int) -> str:
        """Path of an image below the source folder."""
        start = int(self.records["name"][row])
        last = row + 1 == len(self)
        stop = len(self._names) if last else int(self.records["name"][row + 1])
        return bytes(self._names[start : stop - 1]).decode("utf-8", "surrogateescape")

    def content(self, row: int) -> np.ndarray:
        """Bytes of an image, a view of the file."""
        start, length = (int(self.records[key][row]) for key in ("offset", "length"))
        return self._data[start : start + length]

    def pixels(self, row: int) -> np.ndarray:
        """A copy of a raw image, (H, W, 3) uint8 BGR, that transforms may write to."""
        height, width = (int(self.records[key][row]) for key in ("height", "width"))
        return np.array(self.content(row)).reshape(height, width, 3)

    def is_whole(self, row: int) -> bool:
        """Whether an image's bytes have their checksum."""
        return zlib.crc32(self.content(row).data) == self.records["crc"][row]


def read_facts(path: Path) -> dict[str, Any]:
    """``pack.json`` of a finished pack, or PackError."""
    file = path / "pack.json"
    if not os.path.lexists(file):
        partial = partial_of(path)
        raise PackError(
            f"{partial} is not finished: run the same pack command again, it goes on"
            if partial.is_dir()
            else f"no pack in {path}: make one with xmoco pack pack FOLDER {path}"
        )
    try:
        facts = read_json_object(file)
    except FileRefusedError as error:
        raise PackError(f"{printable(file)} is damaged ({error}): pack the folder again") from error
    if facts.get("format") != FORMAT:
        raise PackError(f"{file} has format {facts.get('format')}; this version reads {FORMAT}")
    wrong = [key for key, fits in FACTS.items() if not fits(facts.get(key))]
    if wrong:
        raise PackError(
            f"{file} is damaged, its {wrong[0]!r} is {str(facts.get(wrong[0]))[:40]!r}: pack the "
            "folder again"
        )
    return facts


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


FACTS: dict[str, Callable[[Any], bool]] = {
    "kind": lambda value: value in ("encoded", "raw"),
    "shorter_side": lambda value: value is None or _is_count(value),
    "classes": lambda value: isinstance(value, list) and all(isinstance(c, str) for c in value),
    "images": _is_count,
    "images_in_folder": _is_count,
    "bytes": _is_count,
}


def partial_of(path: Path) -> Path:
    """Where a pack grows until it is finished."""
    return path.with_name(path.name + ".partial")
