# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which images are the same, or nearly, by their fingerprints; exactly, without an index."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .fingerprint import Fingerprint

NONE = 255  # bits: a distance that no two have
# Of the count of bits without numpy 2.
MASKS = [np.uint64(int(byte * 8, 16)) for byte in ("55", "33", "0f", "01")]
SHIFTS = [np.uint64(bits) for bits in (1, 2, 4, 56)]


class Match(NamedTuple):
    """What an image is like.

    Attributes:
        row: Of the other image.
        bits: In which the two hashes differ; None where the pixels are equal.
    """

    row: int
    bits: int | None


def one_per_group(prints: Sequence[Fingerprint], near: int | None) -> list[Match | None]:
    """Groups images around the first of each: every one but that is like it, not like a neighbour.

    So in a slow pan a frame is kept whenever the picture has moved on, where groups of neighbours
    would be one.

    Args:
        prints: (n,), in an order in which the first of a group is kept.
        near: bits that may differ; None for equal pixels only.

    Returns:
        (n,): for each image the kept one that it is like; None for those that are kept.
    """
    found: list[Match | None] = [None] * len(prints)
    first: dict[bytes, int] = {}
    for row, one in enumerate(prints):
        same = first.setdefault(one.digest, row)
        if same != row:
            found[row] = Match(same, None)
    if near is None:
        return found
    rows = np.array([r for r, one in enumerate(prints) if found[r] is None and one.bits], dtype=int)
    words = _words(prints, rows)
    free = np.ones(len(rows), dtype=bool)
    for place, row in enumerate(rows.tolist()):
        if not free[place]:
            continue
        apart = _distances(words[place], words[place + 1 :])
        for offset in np.flatnonzero(apart <= near).tolist():
            if free[other := place + 1 + offset]:
                free[other] = False
                found[rows[other]] = Match(row, int(apart[offset]))
    # Copies of an image that is left out belong to the one it is like.
    for row, match in enumerate(found):
        if match is not None and match.bits is None and (above := found[match.row]) is not None:
            found[row] = above
    return found


def matches(
    asked: Sequence[Fingerprint], known: Sequence[Fingerprint], near: int | None
) -> list[Match | None]:
    """For each image the known one that it is most like; None without any.

    Args:
        asked: (m,).
        known: (n,).
        near: as in :func:`one_per_group`.

    Returns:
        (m,), equal pixels before near ones, the first of several.
    """
    first: dict[bytes, int] = {}
    for row, one in enumerate(known):
        first.setdefault(one.digest, row)
    rows = np.array([row for row, one in enumerate(known) if one.bits], dtype=int)
    words = _words(known, rows)
    found: list[Match | None] = []
    for one in asked:
        same = first.get(one.digest)
        if same is not None:
            found.append(Match(same, None))
            continue
        apart = np.array([NONE])
        if near is not None and one.bits and len(rows):
            apart = _distances(np.frombuffer(one.bits, np.uint64)[0], words)
        best = int(apart.argmin())
        is_near = near is not None and apart[best] <= near
        found.append(Match(int(rows[best]), int(apart[best])) if is_near else None)
    return found


def _words(prints: Sequence[Fingerprint], rows: np.ndarray) -> np.ndarray:
    """Hashes of some images, (k,) uint64."""
    return np.frombuffer(b"".join(prints[row].bits for row in rows), np.uint64)


def _distances(one: np.uint64, others: np.ndarray) -> np.ndarray:
    """Bits in which a hash differs from others (k,) uint64: (k,) of whole numbers."""
    apart = others ^ one
    if hasattr(np, "bitwise_count"):  # from numpy 2 on
        return np.bitwise_count(apart)
    # Bits are added in pairs, in fours and in eights; the product adds the eight bytes.
    half = (apart >> SHIFTS[0]) & MASKS[0]
    apart -= half
    np.right_shift(apart, SHIFTS[1], out=half)
    half &= MASKS[1]
    apart &= MASKS[1]
    apart += half
    np.right_shift(apart, SHIFTS[2], out=half)
    apart += half
    apart &= MASKS[2]
    apart *= MASKS[3]
    apart >>= SHIFTS[3]
    return apart
