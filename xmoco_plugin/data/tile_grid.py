# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where the tiles of a picture lie, and which of them hold nothing to see."""

from collections.abc import Sequence

import numpy as np

from .decode_image import UnreadableImageError

MOST_TILES = 1 << 22  # of a picture (ours): a million pixels a side have that at 512 px
LEAST_NEW = 1 / 8  # of a tile: what a last one must bring (ours)
LEAST_VALID = 1 / 2  # of the pixels of a tile: fewer with a value leave it out (ours)


def tile_starts(length: int, side: int) -> list[int]:
    """Where the tiles of one direction begin, in pixels.

    One lies beside the other from the first pixel on. The last is moved inwards to end with the
    picture, and overlaps its neighbour; where it would bring less than ``LEAST_NEW`` of a tile that
    is new, it is left out.

    Args:
        length: Of the picture.
        side: Of a tile.

    Returns:
        Nothing where the picture is smaller than a tile.
    """
    starts = list(range(0, length - side + 1, side))
    rest = length % side
    if starts and rest >= LEAST_NEW * side:
        starts.append(length - side)
    return starts


def most_tiles(height: int, width: int, side: int) -> int:
    """A number that the tiles of a picture are not above; nothing is made for it."""
    return (height // side + 1) * (width // side + 1)


def tile_grid(height: int, width: int, side: int) -> np.ndarray:
    """(n, 2) top and left of a picture's tiles, row by row; see :func:`tile_starts`.

    Raises:
        UnreadableImageError: There are more than ``MOST_TILES``: a header can claim anything.
    """
    if most_tiles(height, width, side) > MOST_TILES:
        raise UnreadableImageError(
            f"{width}x{height} px have more than {MOST_TILES:,} tiles of {side} px, the limit"
        )
    tops, lefts = tile_starts(height, side), tile_starts(width, side)
    return np.array([(top, left) for top in tops for left in lefts], dtype=np.int64).reshape(-1, 2)


def valid_pixels(
    pixels: np.ndarray, nodata: float | None = None, alpha: bool = False
) -> np.ndarray | None:
    """(h, w) bool: which pixels have a value; None where all do.

    Without one are those that are ``nodata`` in all channels, transparent ones, and in floats those
    with a channel that is NaN or infinite.

    Args:
        pixels: (h, w, n) as they are stored.
        nodata: What the file calls so.
        alpha: Whether the last channel is alpha.
    """
    colours = pixels[..., :-1] if alpha else pixels
    found = pixels[..., -1] != 0 if alpha else np.ones(pixels.shape[:2], bool)
    if pixels.dtype.kind == "f":
        found &= np.isfinite(colours).all(axis=2)
    if nodata is not None and np.isfinite(nodata):
        found &= (colours != nodata).any(axis=2)
    return None if found.all() else found


def is_empty(pixels: np.ndarray, valid: np.ndarray | None = None) -> bool:
    """Whether a tile holds nothing to see: pixels of one colour, or too few with a value.

    Args:
        pixels: (h, w, n).
        valid: As from :func:`valid_pixels`.
    """
    if valid is not None:
        if valid.mean() < LEAST_VALID:
            return True
        shown = pixels[valid]
        return bool((shown == shown[0]).all())
    # The corners first: they are unlike in nearly every photo.
    return bool((pixels[0, 0] == pixels[-1, -1]).all() and (pixels == pixels[0, 0]).all())


def tile_name(path: str, place: Sequence[int]) -> str:
    """What a tile is called: its picture, and its top and left in it."""
    return f"{path}[{place[0]},{place[1]}]"


def read_tiles(text: bytes, pictures: int) -> np.ndarray:
    """(n, 3) picture, top and left, of a list of tiles.

    Args:
        text: A line each: three whole numbers, the first the line of the picture in the list of
            pictures, from 0.
        pictures: In that list.

    Raises:
        ValueError: A line is none such.
    """
    try:
        numbers = np.array(text.split(), dtype=np.int64)
        tiles = numbers.reshape(-1, 3)
    except (ValueError, OverflowError):
        raise ValueError("it is no list of tiles: three whole numbers a line") from None
    if not len(tiles):
        raise ValueError("it names no tile")
    if tiles.min() < 0 or tiles[:, 0].max() >= pictures:
        raise ValueError(f"a tile of it is of none of the {pictures:,} pictures")
    return tiles


def write_tiles(tiles: Sequence[Sequence[int]] | np.ndarray) -> str:
    """A list of tiles as a text; see :func:`read_tiles`."""
    return "".join(f"{picture} {top} {left}\n" for picture, top, left in np.asarray(tiles).tolist())
