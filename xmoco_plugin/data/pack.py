# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Reading a pack: a folder of images in a few memory-mapped files.

``data.bin`` holds one image after the other, as encoded files or as raw rows of BGR bytes;
``records.npy`` says where each is, how large and with which CRC-32; ``names.bin`` holds the paths
below the source folder, UTF-8, one a line; ``pack.json`` says what it is.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FORMAT = 1
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
            self.records = np.load(self.path / "records.npy", mmap_mode="r", allow_pickle=False)
            self._names = np.memmap(self.path / "names.bin", np.uint8, "r")
            self._data = np.memmap(self.path / "data.bin", np.uint8, "r")
        except (OSError, ValueError) as error:
            raise PackError(
                f"{self.path}: a file of the pack is missing or cut: {error}"
            ) from error
        if self.records.dtype != RECORD or len(self._data) != self.facts["bytes"]:
            raise PackError(
                f"{self.path}: data.bin holds {len(self._data):,} bytes where pack.json says "
                f"{self.facts['bytes']:,}: pack the folder again"
            )

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
    if not file.is_file():
        partial = partial_of(path)
        raise PackError(
            f"{partial} is not finished: run the same pack command again, it goes on"
            if partial.is_dir()
            else f"no pack in {path}: make one with xmoco pack pack FOLDER {path}"
        )
    try:
        facts = json.loads(file.read_text())
    except ValueError as error:
        raise PackError(f"{file} is damaged ({error}): pack the folder again") from error
    if facts.get("format") != FORMAT:
        raise PackError(f"{file} has format {facts.get('format')}; this version reads {FORMAT}")
    return facts


def partial_of(path: Path) -> Path:
    """Where a pack grows until it is finished."""
    return path.with_name(path.name + ".partial")
