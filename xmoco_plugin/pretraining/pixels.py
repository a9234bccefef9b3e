# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the network will see of images: their range, how many are dark, how deep 16 bits are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..untrusted import printable

DARK = 32  # of 256: an image none of whose values reaches it is dark (ours)
FULL = 16  # bits of a file of 16 bits


def pixel_facts(pixels: np.ndarray, image: Image.Image) -> dict[str, Any]:
    """Smallest, largest and mean value: ``range`` as it is decoded, ``deep`` in 16 bits of grey.

    Args:
        pixels: (H, W, 3) uint8, decoded at 16 bits.
        image: The same, open.
    """
    facts: dict[str, Any] = {"range": _range(pixels)}
    # A PGM states its maximum, and has been scaled by it.
    if image.mode.startswith("I") and image.format != "PPM":
        grey = np.asarray(image)
        if grey.min() >= 0 and grey.max() <= 65535:  # else it is stretched by itself
            facts["deep"] = _range(grey)
    return facts


def are_pixel_facts(line: Mapping[str, Any]) -> bool:
    """Whether a line that anybody may have written holds such facts."""
    parts = [line.get("range"), *([line["deep"]] if "deep" in line else [])]
    return all(
        isinstance(part, list)
        and len(part) == 3
        and all(type(value) is int and 0 <= value <= 65535 for value in part)
        for part in parts
    )


def bit_depth(deep: Sequence[Sequence[int]]) -> int:
    """Significant bits of 16-bit grey images, 8 to 16: those of the largest value of all of them.

    One depth for all, so that a bright image stays brighter than a dark one.
    """
    largest = max((part[1] for part in deep), default=(1 << FULL) - 1)
    return min(max(int(largest).bit_length(), 8), FULL)


def seen_range(line: Mapping[str, Any], bits: int) -> list[int]:
    """Smallest, largest and mean value of an image in 8 bits, if 16 bits of grey are read so."""
    if "deep" not in line:
        return line["range"]
    return [min(value >> (bits - 8), 255) for value in line["deep"]]


def describe_pixels(
    ranges: np.ndarray, good: Sequence[str], deep: Sequence[Sequence[int]], bits: int, given: bool
) -> Iterator[str]:
    """What the network will see, in lines.

    Args:
        ranges: (n, 3) as :func:`seen_range` has them.
        good: (n,) paths.
        deep: Ranges of the 16-bit grey images.
        bits: That these are read with.
        given: By the user.
    """
    if deep:
        top = max(part[1] for part in deep)
        why = "given" if given else "that value decides; --bit-depth names another"
        yield (
            f"16-bit grey: {len(deep):,} images, values up to {top:,}: read as {bits} bits ({why})"
        )
        if top >= 1 << bits:
            yield f"values above {(1 << bits) - 1:,} become white"
    low, high, mean = ranges[:, 0].min(), ranges[:, 1].max(), ranges[:, 2].mean()
    yield f"values as the network sees them: {low} to {high} of 255, mean {mean:.0f}"
    dark = np.flatnonzero(ranges[:, 1] < DARK)
    if len(dark):
        yield (
            f"{len(dark):,} of {len(good):,} images are dark: no value above {DARK - 1} of 255 "
            f"({printable(good[dark[0]])} the first)"
            + (": scale them before, there is little to see" if 2 * len(dark) >= len(good) else "")
        )


def _range(values: np.ndarray) -> list[int]:
    return [int(values.min()), int(values.max()), round(float(values.mean()))]
