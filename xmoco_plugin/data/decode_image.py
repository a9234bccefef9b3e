# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Bytes of an image file in, 8-bit BGR array out; every other outcome is one named error."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from ..untrusted import FileRefusedError, open_image, open_regular, read_regular
from ..untrusted.image_file import FILE_LIMIT, MAX_PIXELS

# The mean colour of ImageNet: what shows through a transparent area becomes 0 once normalised.
IMAGENET_MEAN_RGB = (124, 116, 104)

# Exif tag 0x0112: how the stored rows must be turned to stand upright.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS, _COMPRESSION, _PLANAR = 258, 259, 284  # TIFF 6.0
STRIP = 1 << 22  # pixels that are converted at a time
_ALPHA_MODES = ("LA", "PA", "RGBA", "La", "RGBa")


class UnreadableImageError(ValueError):
    """A file that cannot be decoded; the message is the reason in plain words, without the path."""


def decode_image(
    content: bytes,
    bit_depth: int = 16,
    background: Sequence[int] = IMAGENET_MEAN_RGB,
    min_side: int = 1,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decode one image file to upright 8-bit BGR. The rules are ours:

    - the first bytes decide which of the formats that are read it is, and its decoder alone is
      asked; anything else is an error that says what it seems to be;
    - strict: a file that ends early is an error, whatever other code told Pillow to tolerate;
    - Exif orientation is applied; ICC profiles are ignored (CMYK goes by the plain formula);
    - several frames or pages: the first;
    - alpha, and palettes or colour keys with transparency: composed over ``background``;
    - 16-bit grey: the top 8 of its ``bit_depth`` significant bits, brighter values saturate; 16-bit
      colour: the high byte (Pillow reads no more of it);
    - 32-bit integers: as 16-bit if all values lie in [0, 65535], else stretched from their
      minimum and maximum to [0, 255];
    - floats: [0, 1] times 255, [0, 255] rounded, any other range stretched in the same way; NaN and
      infinity are an error.

    Args:
        content (bytes): The whole file.
        bit_depth (int): Significant bits of 16-bit grey, in [8, 16]: 12 for cameras and
            microscopes that store 12 bits in 16. PGM carries its own maximum. Defaults to 16.
        background (Sequence[int]): RGB, each in [0, 255]. Defaults to the mean of ImageNet.
        min_side (int): Smaller images are an error, in pixels. Defaults to 1.
        max_pixels (int): Larger images are an error, height times width, judged before decoding.
            Defaults to 128 million, which take up to 1 GB (ours).

    Returns:
        np.ndarray: (H, W, 3), uint8, BGR, contiguous, writable.

    Raises:
        UnreadableImageError: With the reason.
    """
    try:
        return _decode(content, bit_depth, background, min_side, max_pixels)
    except FileRefusedError as error:
        raise UnreadableImageError(str(error)) from None
    except (UnreadableImageError, MemoryError):
        raise
    # Pillow's format readers raise nearly anything on damaged files (SyntaxError, struct.error,
    # KeyError ...); none of it may end a run.
    except Exception as error:
        raise UnreadableImageError(f"damaged or truncated: {error}") from None


def read_image_file(path: str | Path, limit: int = FILE_LIMIT) -> bytes:
    """The content of an image file on this machine.

    Args:
        path: Of the file.
        limit: Bytes it may have.

    Raises:
        UnreadableImageError: It is no regular file, too large, or cannot be read.
    """
    try:
        return read_regular(path, limit)
    except FileRefusedError as error:
        raise UnreadableImageError(str(error)) from None


def content_digest(content: bytes) -> str:
    """What tells the content of a file from every other: a run's list of images has it."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def streamed_digest(path: str | Path) -> str:
    """:func:`content_digest` of a file of any size, which is read part by part.

    Raises:
        UnreadableImageError: It is no regular file, or cannot be read.
    """
    found = hashlib.blake2b(digest_size=16)
    try:
        with open_regular(path) as file:
            while part := file.read(1 << 22):
                found.update(part)
    except FileRefusedError as error:
        raise UnreadableImageError(str(error)) from None
    except OSError as error:
        raise UnreadableImageError(f"reading failed: {error.strerror or error}") from None
    return found.hexdigest()


def file_digest(path: str | Path) -> str | None:
    """:func:`content_digest` of an image file; None where it cannot be read."""
    try:
        return content_digest(read_image_file(path))
    except UnreadableImageError:
        return None


def _decode(
    content: bytes, bit_depth: int, background: Sequence[int], min_side: int, max_pixels: int
) -> np.ndarray:
    with open_image(content, max_pixels) as image:
        if min(image.size) < min_side:
            width, height = image.size
            raise UnreadableImageError(
                f"{width}x{height} px is below the minimum side of {min_side} px (min_side)"
            )
        if _planes_of_16_bits(image):
            raise UnreadableImageError(
                "16-bit colour whose planes lie apart in the file, which Pillow mixes up: store it "
                "with its colours together"
            )
        image.load()
        return to_bgr8(_stand_upright(image), bit_depth, background)


def _planes_of_16_bits(image: Image.Image) -> bool:
    """Whether Pillow would read the bytes of a TIFF's planes as if they had 8 bits."""
    if image.format != "TIFF":
        return False
    tags: Any = image.tag_v2  # type: ignore[attr-defined]
    apart = tags.get(_PLANAR, 1) == 2 and tags.get(_COMPRESSION, 1) == 1
    return apart and len(bits := tags.get(_BITS, ())) > 1 and max(bits) > 8


def _stand_upright(image: Image.Image) -> Image.Image:
    try:
        orientation = image.getexif().get(_ORIENTATION, 1)
        turn = _UPRIGHT.get(orientation)
    except Exception:  # broken metadata beside good pixels: keep the pixels as they are
        turn = None
    return image if turn is None else image.transpose(turn)


def to_bgr8(image: Image.Image, bit_depth: int, background: Sequence[int]) -> np.ndarray:
    """(H, W, 3) uint8 BGR of a loaded image in any of Pillow's modes.

    A strip at a time: of a large image, the copies that conversions make take more than the image.
    """
    width, height = image.size
    if image.mode.startswith("I") or image.mode == "F":
        # A PGM states its maximum and Pillow has already scaled it to 16 bits.
        depth = 16 if image.format == "PPM" else bit_depth
        return cv2.cvtColor(_grey_to_8_bits(np.asarray(image), depth), cv2.COLOR_GRAY2BGR)
    bgr = np.empty((height, width, 3), np.uint8)
    rows = max(STRIP // width, 1)
    for top in range(0, height, rows):
        below = min(top + rows, height)
        part = image if rows >= height else image.crop((0, top, width, below))
        # Forty times as fast as a negative stride.
        cv2.cvtColor(_to_rgb8(part, background), cv2.COLOR_RGB2BGR, bgr[top:below])
    return bgr


def _to_rgb8(image: Image.Image, background: Sequence[int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a loaded image in a mode of 8 bits."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.asarray(image)
    palette_alpha = image.mode == "P" and image.palette is not None and "A" in image.palette.mode
    if image.mode in _ALPHA_MODES or palette_alpha or "transparency" in image.info:
        straight = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
        canvas = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(canvas, straight.convert("RGBA"))
    return np.asarray(image.convert("RGB"))


def _grey_to_8_bits(grey: np.ndarray, bit_depth: int) -> np.ndarray:
    """(H, W) of 16 or 32-bit integers or floats to uint8, by the rules of ``decode_image``."""
    floats = grey.dtype.kind == "f"
    if floats and not np.isfinite(grey).all():
        bad = int((~np.isfinite(grey)).sum())
        raise UnreadableImageError(f"{bad} of {grey.size} pixels are NaN or infinite")
    low, high = float(grey.min()), float(grey.max())
    found = np.empty(grey.shape, np.uint8)
    rows = max(STRIP // grey.shape[1], 1)
    for top in range(0, len(grey), rows):
        part = grey[top : top + rows]
        if floats and low >= 0 and high <= 1:
            part = np.rint(part * 255)
        elif floats and low >= 0 and high <= 255:
            part = np.rint(part)
        elif not floats and low >= 0 and high <= 65535:
            part = np.minimum(part.astype(np.int64) >> (bit_depth - 8), 255)
        else:
            part = np.rint((part.astype(np.float64) - low) * (255 / max(high - low, 1e-12)))
        found[top : top + rows] = part
    return found
