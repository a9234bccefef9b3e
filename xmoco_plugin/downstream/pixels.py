# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The values of images as the hosts' readers hand them on: their range, and how many are dark."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..findings import Finding
from ..untrusted import open_image, open_regular, printable
from ..untrusted.image_file import FILE_LIMIT

LOOKED_AT = 32  # images of a set, spread over it: a reading of all would cost an epoch (ours)
DARK = 32  # of 256, as a pretraining's scan has it


def survey_pixels(files: Sequence[Path], part: str) -> Iterator[Finding]:
    """Rows for the range of values, and for dark images.

    Args:
        files: Of the images.
        part: Of the data.
    """
    ranges: list[tuple[float, float, float]] = []
    dark = []
    for file in files[:: max(len(files) // LOOKED_AT, 1)][:LOOKED_AT]:
        values = _values(file)
        if values is None:
            continue  # reading it says why
        ranges.append((values.min(), values.max(), values.mean()))
        if values.max() < DARK:
            dark.append(printable(file.name))
    if not ranges:
        return
    low, high, mean = np.array(ranges).T
    yield Finding(
        "ok",
        part,
        f"values of {len(ranges)} images: {low.min():.0f} to {high.max():.0f} of 255, mean "
        f"{mean.mean():.0f}",
    )
    if dark:
        yield Finding(
            "note",
            part,
            f"{len(dark)} of {len(ranges)} images are dark: no value above {DARK - 1} of 255, "
            "as 12 bits in files of 16 are. Scale them before: the host reads the upper 8",
            tuple(dark),
        )


def _values(file: Path) -> np.ndarray | None:
    """Values from 0 to 255 of an image; None where it cannot be read."""
    try:
        with open_regular(file, FILE_LIMIT) as opened, open_image(opened) as image:
            if image.mode.startswith("I"):  # OpenCV, which the hosts ask, takes the upper byte
                return np.asarray(image).astype(np.int64) >> 8
            return np.asarray(image.convert("RGB"))
    except MemoryError:
        raise
    except Exception:  # nearly any, of Pillow's readers on damaged files
        return None
