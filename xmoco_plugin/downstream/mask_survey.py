# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a folder of images and one of masks hold, as mmseg will see it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..findings import Finding
from ..untrusted import (
    FolderError,
    count_endings,
    image_size,
    open_image,
    printable,
    read_regular,
    walk_files,
)
from ..untrusted.image_file import FILE_LIMIT
from .errors import DownstreamError
from .mask_folder import Pair
from .voc_survey import in_another_case

SHOWN = 10  # classes whose share a row shows


@dataclass
class Labels:
    """Labels of masks as the host will see them.

    Attributes:
        pixels: How many of each label.
        first: The first mask that has it.
    """

    pixels: Counter[int] = field(default_factory=Counter)
    first: dict[int, Path] = field(default_factory=dict)

    def add(self, other: "Labels") -> None:
        """Takes those of other masks in."""
        self.pixels.update(other.pixels)
        self.first = other.first | self.first


def read_labels(
    files: Sequence[Path], reduce_zero: bool = False, numbers: Mapping[int, int] | None = None
) -> Labels:
    """Counts the labels of masks.

    Args:
        files: Of the masks.
        reduce_zero: As mmseg's ``reduce_zero_label``: 0 becomes 255, every other label one less.
        numbers: As mmseg's ``label_map``: what labels become after that; others stay.

    Raises:
        DownstreamError: A mask is a picture in colours, or cannot be read.
    """
    found = Labels()
    for file in files:
        try:
            # Of bytes: from a file Pillow takes as much memory as a length in it claims.
            with open_image(read_regular(file, FILE_LIMIT)) as image:
                mask = np.asarray(image)
        except MemoryError:
            raise
        except Exception as error:  # nearly any, of Pillow's readers on damaged files
            raise DownstreamError(f"the mask {file} cannot be read: {error}") from error
        if mask.ndim != 2:
            raise DownstreamError(
                f"the mask {file} is a picture with {mask.shape[-1]} channels. mmseg needs one "
                "channel that holds the number of the class, from 0."
            )
        if mask.dtype == np.uint8:
            counts = np.bincount(mask.ravel(), minlength=256)
            values = np.flatnonzero(counts)
            counts = counts[values]
        else:
            values, counts = np.unique(mask, return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            label = _reduced(int(value)) if reduce_zero else int(value)
            label = (numbers or {}).get(label, label)
            found.pixels[label] += count
            found.first.setdefault(label, file)
    return found


def check_sizes(images: Sequence[Path], masks: Sequence[Path]) -> None:
    """Checks that each mask has the size of its image as it is loaded: upright, by its Exif.

    Raises:
        DownstreamError: With how many have another, and the first of them.
    """
    unlike = []
    for image, mask in zip(images, masks, strict=True):
        sizes = image_size(image), image_size(mask, upright=False)
        if None not in sizes and sizes[0] != sizes[1]:
            unlike.append((image, mask, *sizes))
    if unlike:
        image, mask, (width, height), (right, bottom) = unlike[0]  # type: ignore[misc]
        raise DownstreamError(
            f"{len(unlike)} of {len(masks)} masks have another size than their image; the first is "
            f"{printable(mask)}: {right}x{bottom} px, and {printable(image)} is {width}x{height} "
            "px. A pixel of a mask stands for one of its image."
        )


def partnerless(
    images: Path, masks: Path, pairs: Sequence[Pair], suffix: str, part: str
) -> Iterator[Finding]:
    """Rows for images that are passed over, for masks that no image asks for, and for endings.

    Args:
        images, masks: Folders.
        pairs: That are used.
        suffix: Of the images that the host looks for.
        part: Of the data.
    """
    try:
        there = sorted(walk_files(images))
        masked = sorted(walk_files(masks))
    except FolderError as error:
        raise DownstreamError(str(error)) from error
    used = {pair.image for pair in pairs}
    passed = [name for name in there if images / name not in used]
    if passed:
        endings = printable(count_endings(passed, as_written=True))
        yield Finding(
            "note",
            part,
            f"{len(passed):,} of {len(there):,} files in {printable(images)} are left out: their "
            f"names do not end in {suffix!r}, or another file has the name already ({endings})",
            tuple(map(printable, passed)),
        )
    yield from in_another_case(used, suffix, part)
    wanted = {pair.mask for pair in pairs}
    if alone := [name for name in masked if masks / name not in wanted]:
        yield Finding(
            "note",
            part,
            f"{len(alone):,} of {len(masked):,} masks in {printable(masks)} have no image that is "
            "used",
            tuple(map(printable, alone)),
        )


def survey(labels: Labels, classes: Sequence[str], ignored: int, count: int, part: str) -> list:
    """Rows of the table: pairs and shares of classes, and what has no pixel.

    Args:
        labels: Of the masks.
        classes: By their numbers.
        ignored: The label that is neither learnt nor judged.
        count: Pairs of image and mask.
        part: Of the data; where 'train' has pixels of one class alone, nothing is to be learnt.

    Raises:
        DownstreamError: That.
    """
    every = max(sum(labels.pixels.values()), 1)
    here = {name: labels.pixels[number] for number, name in enumerate(classes)}
    shares = [f"{name} {share(n, every)}" for name, n in here.items()]
    more = f" and {len(shares) - SHOWN} more" if len(shares) > SHOWN else ""
    text = f"{count:,} pairs; {len(classes)} classes: {', '.join(shares[:SHOWN])}{more}"
    found = [Finding("ok", part, printable(text))]
    absent = [name for name, n in here.items() if not n]
    off = labels.pixels[ignored]
    ignoring = f"{ignored}, {share(off, every)} of the pixels, is ignored"
    if absent:
        if part == "train" and len(absent) > len(classes) - 2:
            shown = ", ".join(absent[:SHOWN])
            raise DownstreamError(
                f"the training masks have pixels of {_one_or_none(len(classes) - len(absent))}: "
                f"{printable(shown)} {'has' if len(absent) == 1 else 'have'} none"
                + (f"; {ignoring}" if off else "")
                + f". A mask holds the numbers of the classes, from 0 to {len(classes) - 1}: write "
                "the masks with these, or name other classes."
            )
        if len(absent) == 1:
            found.append(Finding("note", part, f"class '{printable(absent[0])}' has no pixel"))
        else:
            names = tuple(map(printable, absent))
            found.append(Finding("note", part, f"{len(absent)} classes have no pixel", names))
    if off:
        found.append(Finding("note", part, ignoring))
    return found


def _one_or_none(classes: int) -> str:
    return "one class alone" if classes else "no class"


def share(count: int, every: int) -> str:
    """Percent, with a figure that is not 0 where the count is not."""
    percent = 100 * count / every
    return "0 %" if not count else f"{percent:.1f} %" if percent >= 0.1 else f"{percent:.1g} %"


def _reduced(value: int) -> int:
    return 255 if value in (0, 255) else value - 1
