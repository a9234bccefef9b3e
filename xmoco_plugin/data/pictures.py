# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Windows of large pictures: of a TIFF what they need is decoded, of all else the whole, once."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from PIL import Image

from ..untrusted.image_file import FILE_LIMIT, MAX_PIXELS
from .channel_reading import ChannelReading
from .decode_image import UnreadableImageError, decode_image, read_image_file, to_bgr8
from .tiff_file import JPEG, OtherKindError, TiffPicture
from .tiff_look import GREY, RGB, YCBCR
from .tile_grid import valid_pixels

# Pixels decoded for each of a tile, above which a TIFF is decoded whole instead: it is stored in
# strips as wide as itself, or in one (ours).
DEAREST = 16
# (kind of values, samples, alpha) -> Pillow's mode of what is read in windows.
MODES = {
    ("uint8", 1, ""): "L",
    ("uint8", 2, "A"): "LA",
    ("uint8", 2, "a"): "La",
    ("uint8", 3, ""): "RGB",
    ("uint8", 4, "A"): "RGBA",
    ("uint8", 4, "a"): "RGBa",
    ("uint16", 1, ""): "I;16",
    ("uint16", 3, ""): "RGB",
    ("uint16", 4, "A"): "RGBA",
}


class Window(NamedTuple):
    """A part of a picture.

    Attributes:
        image: (h, w, 3) uint8 BGR.
        stored: (h, w, n) as the file has it, or the image again.
        valid: (h, w) bool, which pixels have a value; None where all do.
    """

    image: np.ndarray
    stored: np.ndarray
    valid: np.ndarray | None


class Picture(Protocol):
    """Of any format.

    Attributes:
        height, width: In pixels, upright.
        mode: Pillow's.
        held: Bytes that it takes as long as it is kept.
    """

    height: int
    width: int
    mode: str
    held: int

    def window(self, top: int, left: int, height: int, width: int) -> Window: ...

    def close(self) -> None: ...


class WholePicture:
    """A picture that is decoded as a whole.

    Args:
        path: Of the file.
        rules: Of :func:`decode_image`.
        max_bytes: Of a file.
    """

    def __init__(self, path: str | Path, rules: dict, max_bytes: int = FILE_LIMIT) -> None:
        self._pixels = decode_image(read_image_file(path, max_bytes), **rules)
        self.height, self.width = self._pixels.shape[:2]
        self.mode = ""
        self.held = self._pixels.nbytes

    def window(self, top: int, left: int, height: int, width: int) -> Window:
        """A copy of a part."""
        part = self._pixels[top : top + height, left : left + width].copy()
        return Window(part, part, None)

    def close(self) -> None:
        """Nothing is open."""


class WindowedPicture:
    """A TIFF, of which only what a window touches is decoded; by the rules of `decode_image`.

    Args:
        tiff: Open; :func:`is_windowed` of it.
        bit_depth, background: As there.
    """

    held = 0

    def __init__(self, tiff: TiffPicture, bit_depth: int, background: Sequence[int]) -> None:
        self._tiff, self._depth, self._background = tiff, bit_depth, background
        look = tiff.look
        self.height, self.width = look.height, look.width
        self.mode = MODES[look.kind, look.samples, look.alpha]

    def window(self, top: int, left: int, height: int, width: int) -> Window:
        """A part, decoded."""
        stored, look = self._tiff.read(top, left, height, width), self._tiff.look
        valid = valid_pixels(stored, look.nodata, bool(look.alpha))
        pixels = stored
        if look.kind == "uint16" and look.samples > 1:
            pixels = (stored >> 8).astype(np.uint8)  # as Pillow reads 16-bit colour
        if self.mode == "L":
            return Window(cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR), stored, valid)
        image = Image.frombytes(self.mode, (width, height), pixels.tobytes())
        return Window(to_bgr8(image, self._depth, self._background), stored, valid)

    def close(self) -> None:
        """Closes the file."""
        self._tiff.close()


class ChannelPicture:
    """A TIFF of any number of channels; see :class:`ChannelReading`.

    Args:
        tiff: Open.
        reading: How it is read.
        side: Of the windows, in pixels; where these would decode most of it again and again, it is
            decoded once.
        max_pixels: Of a TIFF that is.

    Attributes:
        kind: Such as '4 channels of uint16'.

    Raises:
        UnreadableImageError: It has another number of channels, or must be turned.
    """

    def __init__(
        self, tiff: TiffPicture, reading: ChannelReading, side: int, max_pixels: int = MAX_PIXELS
    ) -> None:
        self._tiff, self._reading, look = tiff, reading, tiff.look
        if reading.channels not in (look.samples, look.channels):
            raise OtherKindError(f"{look.named}, and {reading.channels} are read")
        if not look.upright:
            raise UnreadableImageError("it is stored turned, which is not read with channels")
        self._alpha = reading.channels != look.samples
        self.height, self.width = look.height, look.width
        count = reading.channels
        self.kind = self.mode = f"{count} channel{'s' * (count != 1)} of {look.kind}"
        self.held = 0
        self._pixels: np.ndarray | None = None
        if tiff.cost(side) > DEAREST and look.height * look.width <= max_pixels and side > 1:
            self._pixels = tiff.read(0, 0, look.height, look.width)
            self.held = self._pixels.nbytes

    def stored(
        self, top: int, left: int, height: int, width: int
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """(h, w, channels) of a part as the file has it; which pixels have a value."""
        if self._pixels is None:
            pixels = self._tiff.read(top, left, height, width)
        else:
            pixels = self._pixels[top : top + height, left : left + width]
        valid = valid_pixels(pixels, self._tiff.look.nodata, self._alpha)
        return pixels[..., : self._reading.channels], valid

    def window(self, top: int, left: int, height: int, width: int) -> Window:
        """A part, scaled: its image is (h, w, channels) float32."""
        stored, valid = self.stored(top, left, height, width)
        return Window(self._reading.scaled(stored, valid), stored, valid)

    def close(self) -> None:
        """Closes the file."""
        self._tiff.close()


def is_windowed(tiff: TiffPicture) -> bool:
    """Whether windows of a TIFF can be read by the rules of `decode_image`."""
    look = tiff.look
    plain = look.photometric in (GREY, RGB) or (
        look.photometric == YCBCR and tiff.compression == JPEG
    )
    known = (look.kind, look.samples, look.alpha) in MODES
    return plain and known and look.upright and look.is_picture
