# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Looks at large pictures tile by tile: which of them hold something to see."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..data import UnreadableImageError
from ..data.decode_image import read_image_file, streamed_digest
from ..data.picture_reader import PictureReader, open_picture
from ..data.tiff_file import EXTRA, MAGIC, TiffPicture, is_tiff, tifffile
from ..data.tile_grid import is_empty, tile_grid
from ..untrusted import open_image, refusal
from ..untrusted.image_file import MAX_PIXELS
from .pixels import pixel_facts
from .tiles import SMALLER

STRIPE = 1 << 26  # bytes that are read of a picture at a time (ours)


def look_at_tiles(path: str, side: int, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """Facts of one file, as ``look_at`` has them, and of its tiles.

    Beside those: ``side``, ``empty``, the numbers of tiles without anything to see, and ``held``,
    the bytes that it takes if it is decoded whole for its tiles.

    Args:
        path: Of the file.
        side: Of a tile, in pixels.
        max_pixels: Of a picture that must be decoded whole.
    """
    facts = file_facts(path, max_pixels) | {"side": side}
    if "reason" in facts:
        return facts
    try:
        return facts | {"digest": streamed_digest(path)} | _look(path, side, max_pixels)
    except UnreadableImageError as error:
        return facts | {"reason": str(error)}


def file_facts(path: str, max_pixels: int) -> dict[str, Any]:
    """Path, size and time of change of a file, and what kind of TIFF it is; or why it is not read.

    Args:
        path: Of the file.
        max_pixels: By which it will be judged.
    """
    facts: dict[str, Any] = {"path": path}
    if "\n" in path or "\r" in path:
        return facts | {"reason": "its name holds a line break"}
    if reason := refusal(path):
        return facts | {"reason": reason}
    try:
        stat = os.stat(path)
    except OSError as error:
        return facts | {"reason": error.strerror or str(error)}
    facts |= {"size": stat.st_size, "changed": stat.st_mtime_ns}
    if max_pixels != MAX_PIXELS:
        facts["max_pixels"] = max_pixels
    return facts | tiff_facts(path)


def _look(path: str, side: int, max_pixels: int) -> dict[str, Any]:
    picture = open_picture(path, PictureReader(side, max_pixels=max_pixels))
    try:
        size = picture.height, picture.width
        if min(size) < side:
            raise UnreadableImageError(f"{size[1]}x{size[0]} {SMALLER} {side} px")
        grid = tile_grid(*size, side)
        empty, ranges, deep = [], [], []
        for number, (image, stored, valid) in enumerate(tiles_of(picture.window, grid, side)):
            if is_empty(stored, valid):
                empty.append(number)
            ranges.append(_range(image))
            if stored.dtype == np.uint16 and stored.shape[2] == 1:
                deep.append(_range(stored))
    finally:
        picture.close()
    facts = {"sides": list(size), "mode": picture.mode, "empty": empty, "held": picture.held}
    facts["range"] = _joined(ranges)
    if deep:
        facts["deep"] = _joined(deep)
    if len(empty) == len(grid):
        facts["constant"] = True
    if picture.held:
        facts |= _whole_facts(path, max_pixels)
    return facts


def tiles_of(read: Callable[..., Sequence], grid: np.ndarray, side: int) -> Iterator[list]:
    """Yields the arrays of each tile; several beside each other are read at once.

    Args:
        read: Of top, left, height and width; gives arrays (h, w, ...), or None.
        grid: (n, 2) top and left.
        side: In pixels.
    """
    together = max(STRIPE // (side * side * 16), 1)
    for top in dict.fromkeys(grid[:, 0].tolist()):
        lefts = grid[grid[:, 0] == top, 1].tolist()
        for first in range(0, len(lefts), together):
            part = lefts[first : first + together]
            found = read(top, part[0], side, part[-1] + side - part[0])
            for left in part:
                at = slice(left - part[0], left - part[0] + side)
                yield [None if array is None else array[:, at] for array in found]


def _whole_facts(path: str, max_pixels: int) -> dict[str, Any]:
    """What the picture's header says of its values: its mode, and the range of 16-bit grey."""
    content = read_image_file(path)
    with open_image(content, max_pixels) as image:
        deep = image.mode.startswith("I")
        facts: dict[str, Any] = {"mode": image.mode}
        if deep:
            facts |= pixel_facts(np.zeros((1, 1, 3), np.uint8), image)
            facts.pop("range")
    return facts


def tiff_facts(path: str, content: bytes | None = None) -> dict[str, Any]:
    """What a TIFF holds beside the page that is read, and its kind where it is no picture.

    One of the latter has a ``reason`` too: it is not read as a picture.

    Args:
        path: Of any file.
        content: Of it, where it was read already.
    """
    begins_as_tiff = content[:4] in MAGIC if content is not None else is_tiff(path)
    if tifffile is None or not begins_as_tiff:
        return {}
    try:
        with TiffPicture(path) as tiff:
            look = tiff.look
    except UnreadableImageError:
        return {}
    facts: dict[str, Any] = {"further": look.further} if look.further else {}
    if not look.is_picture:
        facts |= {"kind": look.named, "channels": look.channels}
        facts["reason"] = f"{look.named}: --channels {look.channels} reads them"
    return facts


def library_hint(path: str) -> str:
    """What a library that is not there would change of a TIFF that Pillow does not read, if any."""
    if not is_tiff(path):
        return ""
    try:
        TiffPicture(path).close()
    except UnreadableImageError as error:
        return f"; {error}" if EXTRA in str(error) else ""
    return ""


def _range(values: np.ndarray) -> list[float]:
    return [int(values.min()), int(values.max()), float(values.mean())]


def _joined(ranges: list[list[float]]) -> list[int]:
    lows, highs, means = zip(*ranges, strict=True)
    return [int(min(lows)), int(max(highs)), round(float(np.mean(means)))]
