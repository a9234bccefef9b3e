# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The values of images as the hosts' readers hand them on, and images that cannot be read."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ..findings import Finding, some
from ..untrusted import FileRefusedError, open_image, open_regular, printable
from ..untrusted.image_file import FILE_LIMIT, MAX_PIXELS
from .errors import DownstreamError

LOOKED_AT = 32  # images of a set, spread over it: a reading of all would cost an epoch (ours)
OPENED = 5000  # that are looked at for damage (ours): all of a user's own set, a part of COCO
TAIL = 4096  # bytes, in which a whole file has the mark of its format's end
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
DARK = 32  # of 256, as a pretraining's scan has it


def survey_pixels(files: Sequence[Path], part: str) -> Iterator[Finding]:
    """Rows for the range of values, and for dark images.

    Args:
        files: Of the images.
        part: Of the data.

    Raises:
        DownstreamError: Some cannot be read; they are named.
    """
    check_whole(files)
    ranges: list[tuple[float, float, float]] = []
    dark = []
    for file in files[:: max(len(files) // LOOKED_AT, 1)][:LOOKED_AT]:
        values = _values(file)
        if values is None:
            continue
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


def check_whole(files: Sequence[Path]) -> None:
    """Looks for images that the host would stop at, or read as half an image without a word.

    A file that has the mark of its format's end is not decoded.

    Raises:
        DownstreamError: With how many cannot be read, and the first of them.
    """
    looked = files[:: max(len(files) // OPENED, 1)]
    bad = [f"{printable(file)}: {why}" for file in looked if (why := _damage(file))]
    if bad:
        raise DownstreamError(
            f"{len(bad):,} of {len(looked):,} images cannot be read: {some(bad)}. Copy them again, "
            "or take them out of the set."
        )


def _damage(file: Path) -> str | None:
    try:
        with open_regular(file, FILE_LIMIT) as opened:
            opened.seek(-min(TAIL, os.fstat(opened.fileno()).st_size), os.SEEK_END)
            end = opened.read()
            opened.seek(0)
            with open_image(opened, sys.maxsize) as image:  # the limit is the training's to judge
                small = image.width * image.height <= MAX_PIXELS
                if small and ENDS.get(image.format or "", b"no such mark") not in end:
                    image.load()
    except MemoryError:
        raise
    except FileRefusedError as error:
        return printable(str(error))
    except Exception as error:  # nearly any, of Pillow's readers on damaged files
        return printable(f"damaged or truncated: {error}")
    return None


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
