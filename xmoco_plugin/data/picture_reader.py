# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Opens pictures to read windows of them, and keeps what had to be decoded whole."""

import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..untrusted.image_file import FILE_LIMIT, MAX_PIXELS, image_size
from .channel_reading import ChannelReading
from .decode_image import IMAGENET_MEAN_RGB, UnreadableImageError
from .pictures import (
    DEAREST,
    ChannelPicture,
    Picture,
    WholePicture,
    WindowedPicture,
    is_windowed,
)
from .tiff_file import EXTRA, TiffPicture, is_tiff, tifffile

CACHE = 512 << 20  # bytes of decoded pictures that a process keeps (ours)
HANDLES = 64  # TIFFs that it keeps open


class PictureReader:
    """Opens pictures and keeps some: handles of TIFFs, and what had to be decoded whole.

    What it keeps stays in its process: a worker that was forked, or gets a copy, begins anew.

    Args:
        side: Of the windows that it will be asked for, in pixels; it decides, TIFF by TIFF, whether
            windows are cheaper than the whole.
        bit_depth, background, min_side: Of :func:`decode_image`.
        max_pixels: Of a window, and of a picture that is decoded whole.
        max_bytes: Of the file of such a picture.
        cache_bytes: Of these pictures that are kept; the latest is, however large.
        channels: How TIFFs of any number of channels are read; None for pictures.
    """

    def __init__(
        self,
        side: int,
        bit_depth: int = 16,
        background: Sequence[int] = IMAGENET_MEAN_RGB,
        min_side: int = 1,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = FILE_LIMIT,
        cache_bytes: int = CACHE,
        channels: ChannelReading | None = None,
    ) -> None:
        self.channels = channels
        self.side, self.bit_depth, self.background = side, bit_depth, tuple(background)
        self.min_side, self.max_pixels, self.max_bytes = min_side, max_pixels, max_bytes
        self.cache_bytes = cache_bytes
        self._kept: OrderedDict[str, Picture] = OrderedDict()
        self._process = os.getpid()

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_kept": OrderedDict()}

    def open(self, path: str | Path) -> Picture:
        """A picture, to be closed by nobody.

        Raises:
            UnreadableImageError: It cannot be read.
        """
        if self._process != os.getpid():  # forked: a file's place is shared with the parent
            self._kept, self._process = OrderedDict(), os.getpid()
        path = str(path)
        picture = self._kept.pop(path, None) or open_picture(path, self)
        self._kept[path] = picture
        while len(self._kept) > 1 and (
            sum(kept.held for kept in self._kept.values()) > self.cache_bytes
            or len(self._kept) > HANDLES
        ):
            self._kept.popitem(last=False)[1].close()
        return picture


def open_channels(
    source: str | bytes, channels: ChannelReading, reader: PictureReader
) -> ChannelPicture:
    """A TIFF of any number of channels, which the reader does not keep.

    Args:
        source: Path, or the content of the file.
        channels: How it is read.
        reader: Whose limits hold.

    Raises:
        UnreadableImageError: It cannot be read, or has other channels.
    """
    opened = TiffPicture(source)
    try:
        return ChannelPicture(opened, channels, reader.side, reader.max_pixels)
    except BaseException:
        opened.close()
        raise


def open_picture(path: str, reader: PictureReader) -> Picture:
    """A picture, by the settings of a reader, which does not keep it.

    Raises:
        UnreadableImageError: It cannot be read.
    """
    if reader.channels is not None:
        return open_channels(path, reader.channels, reader)
    tiff, why = _windowed(path, reader) if is_tiff(path) else (None, "")
    if tiff is not None:
        return WindowedPicture(tiff, reader.bit_depth, reader.background)
    rules = {n: getattr(reader, n) for n in ("bit_depth", "background", "min_side", "max_pixels")}
    try:
        return WholePicture(path, rules, reader.max_bytes)
    except UnreadableImageError as error:
        raise UnreadableImageError(f"{error}{why and f'; {why}'}") from None


def read_tile(picture: Picture, top: int, left: int, height: int, width: int) -> np.ndarray:
    """The pixels of a tile.

    Args:
        picture: As a reader opens it.
        top, left, height, width: Of the tile, in pixels.

    Raises:
        UnreadableImageError: The picture is smaller than it was when the tile was found.
    """
    if top + height > picture.height or left + width > picture.width:
        raise UnreadableImageError(
            f"{picture.width}x{picture.height} px, and a tile of {width} px was found {top} px "
            f"from its top and {left} px from its left: it has changed"
        )
    return picture.window(top, left, height, width).image


def picture_size(path: str) -> tuple[int, int] | None:
    """Height and width of a picture by its header, upright; None where it is none that is read."""
    if tifffile is not None and is_tiff(path):
        try:
            with TiffPicture(path) as tiff:
                if tiff.look.upright:
                    return tiff.look.height, tiff.look.width
        except UnreadableImageError:
            pass
    size = image_size(path)
    return None if size is None else (size[1], size[0])


def _windowed(path: str, reader: PictureReader) -> tuple[TiffPicture | None, str]:
    """The TIFF, if it is read in windows; else what would have it read so, if anything would.

    Pillow's reader knows what this one does not, or says what is wrong.
    """
    try:
        tiff = TiffPicture(path)
    except UnreadableImageError as error:
        return None, str(error) if EXTRA in str(error) else ""
    if is_windowed(tiff) and tiff.cost(reader.side) <= DEAREST:
        return tiff, ""
    tiff.close()
    why = "stored in tiles, it would be read in parts" if is_windowed(tiff) else ""
    return None, why
