# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The first page of a TIFF, whatever its channels and its size, read in windows by tifffile."""

import io
import logging
import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..untrusted import FileRefusedError, open_regular
from ..untrusted.files import size_text
from .decode_image import UnreadableImageError
from .tiff_look import look_of

try:
    import tifffile
except ImportError:  # an extra
    tifffile = None  # type: ignore[assignment]
try:
    import imagecodecs
except ImportError:  # an extra; tifffile has deflate without it
    imagecodecs = None

EXTRA = "pip install tifffile imagecodecs (the extra named tiff)"
MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
SEGMENT_LIMIT = 1 << 28  # bytes of a strip or tile, decoded (ours)
MOST_CHANNELS = 512  # ours: hyperspectral sensors have some 200
KINDS = ("uint8", "uint16", "int16", "float32", "float64")
PLAIN, DEFLATE, JPEG, PACKBITS = 1, (8, 32946), 7, 32773
BUILT_IN = (PLAIN, *DEFLATE, PACKBITS)  # tifffile's own
CODECS = (*BUILT_IN, 5, JPEG, 33003, 33005, 34712, 34925, 50000, 50001)  # with imagecodecs


class OtherKindError(UnreadableImageError):
    """A file that may be whole, and is not of the kind that is read."""


class TiffPicture:
    """The first page of a TIFF, open; windows of it are decoded, and nothing else is held.

    Args:
        source: Path of the file, of any size; or its content, which is then held.

    Attributes:
        look: What it holds.

    Raises:
        UnreadableImageError: It is none, is damaged, or is of a kind that is not read.
    """

    def __init__(self, source: str | Path | bytes) -> None:
        if tifffile is None:
            raise UnreadableImageError(f"a TIFF of this kind needs tifffile: {EXTRA}")
        logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong is raised here
        self._content = source if isinstance(source, bytes) else None
        name = "" if isinstance(source, bytes) else os.path.basename(source)
        self._file: Any
        try:
            self._file = io.BytesIO(source) if isinstance(source, bytes) else open_regular(source)
        except FileRefusedError as error:
            raise UnreadableImageError(str(error)) from None
        try:
            if self._file.read(4) not in MAGIC:
                raise OtherKindError("no TIFF")
            self._file.seek(0)
            # Named, or it would look for what the file is by its path.
            tiff = tifffile.TiffFile(self._file, name=name)
            self._page: Any = tiff.pages[0]
            self.look = look_of(tiff)
            self._check()
        except BaseException as error:
            self._file.close()
            if isinstance(error, UnreadableImageError) or not isinstance(error, Exception):
                raise
            # Nearly anything is raised on damaged files; a table that claims to be larger than the
            # memory is one of them.
            raise UnreadableImageError(f"damaged or truncated: {_short(error)}") from None

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def __enter__(self) -> "TiffPicture":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def compression(self) -> int:
        """As the file names it."""
        return int(self._page.compression)

    @property
    def segment(self) -> tuple[int, int]:
        """Height and width of the parts in which it is stored, in pixels."""
        page = self._page
        if page.is_tiled:
            return page.tilelength, page.tilewidth
        return min(page.rowsperstrip, page.imagelength), page.imagewidth

    def cost(self, side: int) -> float:
        """Pixels that are decoded for a tile, for each of its own; 1 where none are in vain."""
        if self._is_mapped:
            return 1.0
        (high, wide), look = self.segment, self.look
        rows = min(-(-side // high) * high + (side % high > 0) * high, look.height)
        columns = min(-(-side // wide) * wide + (side % wide > 0) * wide, look.width)
        return rows * columns / side**2

    def read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        """A window.

        Args:
            top, left, height, width: In pixels, inside of the picture.

        Returns:
            (height, width, samples), in the file's kind of values, C-contiguous.

        Raises:
            UnreadableImageError: That part of the file is damaged, or not there.
        """
        try:
            return self._read(top, left, height, width)
        except (UnreadableImageError, MemoryError):
            raise
        except Exception as error:  # nearly any, of the decoders
            raise UnreadableImageError(f"damaged or truncated: {_short(error)}") from None

    @property
    def _is_mapped(self) -> bool:
        page = self._page
        return page.compression == PLAIN and page.is_contiguous and page.is_final

    def _read(self, top: int, left: int, height: int, width: int) -> np.ndarray:
        page, samples = self._page, self.look.samples
        kind = np.dtype(self.look.kind)
        if self._is_mapped:
            stored = kind.newbyteorder(page.parent.byteorder)
            pixels = self._mapped(stored, page.dataoffsets[0], page.nbytes, tuple(page.shaped))
            seen = pixels[:, 0, top : top + height, left : left + width]  # (planes, h, w, n)
            seen = seen[0] if page.planarconfig == 1 else seen[..., 0].transpose(1, 2, 0)
            return np.ascontiguousarray(seen, dtype=kind)
        found = np.empty((height, width, samples), kind)
        for index, plane, y, x in self._segments(top, left, height, width):
            part = self._decoded(index)
            high, wide = self.segment if part is None else part.shape[1:3]
            upper, lower = max(y, top), min(y + high, top + height)
            first, last = max(x, left), min(x + wide, left + width)
            place = found[upper - top : lower - top, first - left : last - left]
            if page.planarconfig == 2:
                place = place[..., plane : plane + 1]
            if part is None:  # a part that was never written
                place[...] = self.look.nodata or 0
            else:
                place[...] = part[0, upper - y : lower - y, first - x : last - x]
        return found

    def _mapped(self, kind: np.dtype, begin: int, size: int, shape: tuple[int, ...]) -> np.ndarray:
        """The pixels where they lie, which are stored as they are."""
        if self._content is None:
            there = os.fstat(self._file.fileno()).st_size
        else:
            there = len(self._content)
        if begin + size > there:
            raise UnreadableImageError("truncated: its pixels end behind the file's end")
        if self._content is None:
            return np.memmap(self._file, kind, "r", begin, shape)
        return np.frombuffer(self._content, kind, math.prod(shape), begin).reshape(shape)

    def _segments(
        self, top: int, left: int, height: int, width: int
    ) -> Iterator[tuple[int, int, int, int]]:
        """Yields (index, plane, top, left) of each part of the file that the window touches."""
        (high, wide), look = self.segment, self.look
        down, across = -(-look.height // high), -(-look.width // wide)
        for plane in range(look.samples if self._page.planarconfig == 2 else 1):
            for row in range(top // high, -(-(top + height) // high)):
                for column in range(left // wide, -(-(left + width) // wide)):
                    yield (plane * down + row) * across + column, plane, row * high, column * wide

    def _decoded(self, index: int) -> np.ndarray | None:
        """(1, h, w, n) of a part of the file; None where it was never written."""
        page = self._page
        if index >= len(page.dataoffsets) or index >= len(page.databytecounts):
            raise UnreadableImageError(f"truncated: it has no part {index:,} of its pixels")
        place, size = page.dataoffsets[index], page.databytecounts[index]
        if not size:
            return None
        high, wide = self.segment
        pixels = high * wide * (1 if page.planarconfig == 2 else self.look.samples)
        whole = pixels * np.dtype(self.look.kind).itemsize
        if size > 2 * whole + (1 << 16):
            raise UnreadableImageError(f"damaged: part {index:,} has {size:,} bytes")
        self._file.seek(place)
        data = self._file.read(size)
        if len(data) < size:
            raise UnreadableImageError(
                f"truncated: part {index:,} of {len(page.dataoffsets):,} ends behind the file's end"
            )
        # tifffile's own inflates whatever comes, and JPEG's size is that of its header.
        inflates = page.compression in DEFLATE and imagecodecs is None
        if (inflates and len(zlib.decompressobj().decompress(data, whole + 1)) > whole) or (
            page.compression == JPEG and _jpeg_pixels(data) > 4 * high * wide
        ):
            raise UnreadableImageError(f"damaged: part {index:,} holds more than its pixels")
        return page.decode(data, index, jpegtables=page.jpegtables)[0]

    def _check(self) -> None:
        page, look = self._page, self.look
        high, wide = self.segment
        if min(look.height, look.width, high, wide) < 1 or page.imagedepth > 1:
            raise UnreadableImageError("a TIFF without pixels, or with a third dimension")
        if look.samples > MOST_CHANNELS:
            raise UnreadableImageError(f"{look.samples:,} channels; {MOST_CHANNELS} are the most")
        if look.kind not in KINDS:
            raise UnreadableImageError(f"a TIFF of {look.kind} values; read are {', '.join(KINDS)}")
        size = high * wide * look.samples * np.dtype(look.kind).itemsize
        if size > SEGMENT_LIMIT and not self._is_mapped:
            raise UnreadableImageError(
                f"it is stored in parts of {wide:,}x{high:,} px, {size_text(size)} each, and "
                f"{size_text(SEGMENT_LIMIT)} are the limit: store it in tiles"
            )
        if page.compression not in CODECS:
            raise UnreadableImageError(f"a TIFF with compression {page.compression}")
        if page.compression not in BUILT_IN and imagecodecs is None:
            raise UnreadableImageError(
                f"a TIFF with compression {page.compression} needs imagecodecs: {EXTRA}"
            )


def many_channels(content: bytes) -> str:
    """Why a file is not read as a picture: it is a TIFF of other channels; empty where it is one.

    Args:
        content: Of any file; of a damaged one its decoder says more.
    """
    if tifffile is None or content[:4] not in MAGIC:
        return ""
    try:
        with TiffPicture(content) as tiff:
            look = tiff.look
    except UnreadableImageError:
        return ""
    if look.is_picture:
        return ""
    return f"{look.named}: --channels {look.channels} of pretrain reads them"


def is_tiff(path: str | Path) -> bool:
    """Whether a file begins as a TIFF; what cannot be opened does not."""
    try:
        with open_regular(path) as file:
            return file.read(4) in MAGIC
    except (FileRefusedError, OSError):
        return False


def _jpeg_pixels(data: bytes) -> int:
    """Height times width by the frame of a JPEG; 0 where it has none."""
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            rows, columns = data[place + 5 : place + 7], data[place + 7 : place + 9]
            return int.from_bytes(rows, "big") * int.from_bytes(columns, "big")
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 0


def _short(error: BaseException) -> str:
    text = (str(error).strip() or type(error).__name__).splitlines()[0]
    return text[:200]
