# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The values of images as the hosts' readers hand them on, and images that cannot be read."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..findings import Finding, some
from ..progress import watched
from ..untrusted import FileRefusedError, open_image, open_regular, printable
from ..untrusted.image_file import FILE_LIMIT, MAX_PIXELS
from .errors import DownstreamError

LOOKED_AT = 32  # images of a set, spread over it: a reading of all would cost an epoch (ours)
OPENED = 5000  # that are looked at for damage (ours): all of a user's own set, a part of COCO
TAIL = 4096  # bytes, in which a whole file has the mark of its format's end
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
DARK = 32  # of 256, as a pretraining's scan has it
# Before which each file passes `CheckImageFile`, or which look themselves.
GUARDED = ("LoadImageFromFile", "LoadImageOrSkip")
CHECKED, OPENCV, OTHER = "checked", "OpenCV", "other"  # what reads the images of a set
Item = TypeVar("Item")


def reader_of(data: Mapping[str, Any]) -> str:
    """What reads the images of a dataset's settings.

    Returns:
        ``CHECKED`` for what lets only files of the known formats through, and is put into a
        pipeline that has no check of its own; ``OPENCV`` where such a check lets each format
        through; ``OTHER`` for a reader that is not known here.
    """
    if "pipeline" not in data:  # of a folder without a config, which is read as ours read it
        return CHECKED
    any_format = False
    for step in data["pipeline"] or ():
        kind = step.get("type") if isinstance(step, Mapping) else step
        name = getattr(kind, "__name__", str(kind)).split(".")[-1]
        if name == "CheckImageFile" and isinstance(step, Mapping):
            any_format = bool(step.get("any_format"))
        if name in GUARDED:
            return OPENCV if any_format else CHECKED
    return OTHER


def survey_pixels(files: Sequence[Path], part: str, reader: str = CHECKED) -> Iterator[Finding]:
    """Rows for the range of values, and for dark images.

    One process of each machine looks: others would see the same.

    Args:
        files: Of the images.
        part: Of the data.
        reader: Of :func:`reader_of`. What another one reads is not judged here.

    Raises:
        DownstreamError: Some cannot be read; they are named.
    """
    if reader == OTHER or not _first_of_machine():
        return
    if reader == CHECKED:
        yield from check_whole(files, part)
    ranges: list[tuple[float, float, float]] = []
    dark = []
    for file in spread(files, LOOKED_AT):
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


def spread(items: Sequence[Item], most: int) -> Sequence[Item]:
    """At most so many of the items, evenly spread over them."""
    return items[:: max(-(-len(items) // most), 1)]


def check_whole(files: Sequence[Path], part: str = "images") -> list[Finding]:
    """Looks for images that the host would stop at, or read as half an image without a word.

    At most ``OPENED`` are opened. A file that has the mark of its format's end is not decoded; of
    those that lack it, and of formats without one, ``LOOKED_AT`` are.

    Returns:
        A row where more than those lack the mark.

    Raises:
        DownstreamError: With how many cannot be read, and the first of them.
    """
    looked = spread(files, OPENED)
    reasons: dict[Path, str] = {}
    open_ended: dict[bool, list[Path]] = {True: [], False: []}  # whether the format has a mark
    for file in watched(looked, f"{part}: looking at the images' ends", show=True):
        why, marked = _damage(file)
        if why:
            reasons[file] = why
        elif marked is not None:
            open_ended[marked].append(file)
    decoded = {marked: spread(found, LOOKED_AT) for marked, found in open_ended.items()}
    for file in watched([*decoded[True], *decoded[False]], f"{part}: decoding images", True):
        why, _ = _damage(file, decode=True)
        if why:
            reasons[file] = why
    left = len(open_ended[True]) - len(decoded[True])
    if reasons:
        bad = [f"{printable(file)}: {reasons[file]}" for file in looked if file in reasons]
        more = f"; {left:,} more lack the mark of their end and may be cut off" if left else ""
        raise DownstreamError(
            f"{len(bad):,} of {len(looked):,} images cannot be read: {some(bad)}{more}. Copy them "
            "again, or take them out of the set."
        )
    if not left:
        return []
    text = (
        f"{len(open_ended[True]):,} of {len(looked):,} images lack the mark of their end in their "
        f"last {TAIL:,} bytes; {len(decoded[True])} of them were decoded and are whole"
    )
    return [Finding("note", part, text, tuple(printable(f.name) for f in open_ended[True]))]


def _first_of_machine() -> bool:
    # Slurm's own processes have no rank yet.
    name = "LOCAL_RANK" if "RANK" in os.environ else "SLURM_LOCALID"
    return os.environ.get(name, "0") == "0"


def _damage(file: Path, decode: bool = False) -> tuple[str | None, bool | None]:
    """What is wrong with a file; and, where its end does not tell, whether it should."""
    try:
        with open_regular(file, FILE_LIMIT) as opened:
            opened.seek(-min(TAIL, os.fstat(opened.fileno()).st_size), os.SEEK_END)
            end = opened.read()
            opened.seek(0)
            with open_image(opened, sys.maxsize) as image:  # the limit is the training's to judge
                mark = ENDS.get(image.format or "")
                if image.width * image.height > MAX_PIXELS or (mark and mark in end):
                    return None, None
                if decode:
                    image.load()
                return None, mark is not None
    except MemoryError:
        raise
    except FileRefusedError as error:
        return printable(str(error)), None
    except Exception as error:  # nearly any, of Pillow's readers on damaged files
        return printable(f"damaged or truncated: {error}"), None


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
