# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The tiles of a set of large pictures: where they lie, how they are read, and what is said."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..data.picture_reader import CACHE
from ..data.tile_grid import LEAST_VALID, tile_grid
from ..untrusted import printable
from ..untrusted.files import size_text
from .errors import PretrainError

LEAST = 64  # px of a tile: the smallest views that are chosen
SMALLER = "px is smaller than a tile of"
# From which on pictures are large: whole, they lose this much of their size in a view (ours).
LARGE, TIMES = 2048, 8
SUGGESTED = 512  # px (ours)
SHARE = 1 / 4  # of the free memory, for the pictures that all workers keep (ours)
MANY = 8  # pictures whose tiles are mixed: with fewer, a batch's negatives are much the same (ours)


class Tiles(NamedTuple):
    """Of all pictures that can be read.

    Attributes:
        side: In pixels.
        places: (n, 3) picture, top and left of those that hold something to see.
        empty: How many others there are.
        held: Bytes of the largest picture that is decoded whole for its tiles; 0 for none.
        whole: How many such pictures there are.
    """

    side: int
    places: np.ndarray
    empty: int
    held: int
    whole: int

    def different(self, digests: Sequence[str]) -> int:
        """Tiles of pictures that are no copy of another.

        Args:
            digests: Of the pictures.
        """
        first: dict[str, int] = {}
        for number, digest in enumerate(digests):
            first.setdefault(digest, number)
        return int(np.isin(self.places[:, 0], list(first.values())).sum())


class TileReading(NamedTuple):
    """How tiles are read in training.

    Attributes:
        side: In pixels.
        window: Pictures whose tiles are mixed; None where all are.
        cache: Bytes of pictures decoded whole that a worker keeps.
    """

    side: int
    window: int | None
    cache: int


def gather_tiles(lines: Sequence[Mapping[str, Any]], side: int) -> Tiles:
    """The tiles of all pictures.

    Args:
        lines: Facts of each, as :func:`look_at_tiles` gives them.
        side: In pixels.
    """
    places, left = [np.empty((0, 3), np.int64)], 0
    for number, line in enumerate(lines):
        grid = tile_grid(line["sides"][0], line["sides"][1], side)
        kept = np.ones(len(grid), bool)
        kept[[n for n in line["empty"] if n < len(grid)]] = False
        rows = np.full((int(kept.sum()), 1), number)
        places.append(np.concatenate([rows, grid[kept]], axis=1))
        left += len(grid) - len(rows)
    held = [line["held"] for line in lines]
    return Tiles(side, np.concatenate(places), left, max(held, default=0), sum(map(bool, held)))


def reading_of(tiles: Tiles, pictures: int, free: int, workers: int) -> TileReading:
    """How tiles are read: what must be decoded whole is kept, and comes in an order that fits.

    Args:
        tiles: Of the set.
        pictures: In it.
        free: Bytes of memory.
        workers: Processes that read.
    """
    cache = max(min(CACHE, int(SHARE * free) // max(workers, 1)), tiles.held)
    if not tiles.held or tiles.whole * tiles.held <= cache:
        return TileReading(tiles.side, None, cache)
    return TileReading(tiles.side, min(cache // tiles.held, pictures), cache)


def check_sides(found: Any, side: int) -> str | None:
    """What is said of pictures that are smaller than a tile; None where there are none.

    Args:
        found: The scan, with ``good`` and ``bad``.
        side: Of a tile, in pixels.

    Raises:
        PretrainError: No other picture can be read.
    """
    sizes = [reason.split()[0] for _, reason in found.bad if SMALLER in reason]
    if not sizes:
        return None
    least = min(sizes, key=lambda size: min(map(int, size.split("x"))))
    said = (
        f"--tiles {side}: tiles are larger than {len(sizes):,} of "
        f"{len(found.good) + len(found.bad):,} pictures; the smallest has {least} px"
    )
    fitting = min(map(int, least.split("x")))
    advice = f"--tiles {fitting} takes it too" if fitting >= LEAST else "leave --tiles out"
    if not found.good:
        unread = len(found.bad) - len(sizes)
        others = f", and the other {unread:,} cannot be read" if unread else ""
        raise PretrainError(f"{said}{others}: {advice}.")
    return f"{said}; they are left out ({advice})"


def describe_tiles(tiles: Tiles, good: Sequence[str]) -> Iterator[str]:
    """What there is to train on, in lines."""
    counts = np.bincount(tiles.places[:, 0], minlength=len(good))
    yield (
        f"tiles: {len(tiles.places):,} of {tiles.side} px, {counts.min():,} to {counts.max():,} a "
        "picture; at a border the last is moved inwards"
    )
    yield (
        f"tiles left out: {tiles.empty:,} of one colour, or with less than {LEAST_VALID:.0%} of "
        "their pixels"
    )
    if tiles.whole:
        yield (
            f"decoded whole for their tiles: {tiles.whole:,} pictures, up to "
            f"{size_text(tiles.held)} each; tiled TIFFs are read in parts"
        )


def describe_reading(reading: TileReading) -> Iterator[str]:
    """The order of the tiles, where it is not any order, in lines."""
    if reading.window is None:
        return
    yield (
        f"the tiles of {reading.window:,} pictures are mixed at a time: a worker keeps "
        f"{size_text(reading.cache)} of decoded pictures"
    )
    if reading.window < MANY:
        yield (
            f"with {reading.window:,} pictures at a time the images of a batch are much alike: "
            "store the pictures as tiled TIFFs, which are mixed at will"
        )


def describe_further(further: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Which part of files with several images is read, in lines."""
    counts = Counter(what for _, what in further)
    for what, count in sorted(counts.items()):
        first = next(path for path, kind in further if kind == what)
        yield (
            f"TIFFs with {what} beside the first image, which alone is read: {count:,} "
            f"({printable(first)} the first)"
        )


def offered_tiles(sides: np.ndarray, size: int = 0) -> int:
    """How many tiles of the suggested side pictures have that are much larger than views; else 0.

    Args:
        sides: (n, 2) of the pictures, in pixels.
        size: Of the views, in pixels, where it is known.
    """
    if not len(sides) or np.median(sides.min(axis=1)) < max(LARGE, TIMES * size):
        return 0
    return sum(len(tile_grid(high, wide, SUGGESTED)) for high, wide in sides.tolist())


def suggest_tiles(
    sides: np.ndarray, size: int, bad: Sequence[tuple[str, str]] = ()
) -> Iterator[str]:
    """What tiles would give, where pictures are much larger than views, in lines.

    Args:
        sides: (n, 2) of the pictures, in pixels.
        size: Of the views, in pixels.
        bad: (path, reason) of the files that are left out.
    """
    if count := offered_tiles(sides, size):
        middle = int(np.median(sides.min(axis=1)))
        yield (
            f"the pictures are large: a view of {size} px shows a fifth or more of {middle:,} px. "
            f"--tiles {SUGGESTED} trains on {count:,} tiles in their full resolution instead"
        )
    if too_large := len([1 for _, reason in bad if "(max_pixels)" in reason]):
        yield f"left out for their size: {too_large:,}. --tiles N reads large TIFFs in parts"
