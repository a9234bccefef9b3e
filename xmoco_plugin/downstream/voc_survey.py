# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a set in VOC's format holds, as the hosts will see it: lists, boxes, images without them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..findings import Finding, some
from ..untrusted import (
    FileRefusedError,
    VocImage,
    in_other_case,
    printable,
    refusal,
    voc_image,
    voc_names,
)
from .errors import DownstreamError
from .pixels import CHECKED, survey_pixels

SHOWN = 10  # classes that a row shows


class VocList(NamedTuple):
    """A part of a set.

    Attributes:
        listed: File with a name a line.
        annotations: Folder of `name.xml`.
        images: Folder of `name.jpg`.
    """

    listed: Path
    annotations: Path
    images: Path


def survey_voc(
    voc: VocList,
    classes: Sequence[str],
    part: str,
    smallest: float | None = None,
    reader: str = CHECKED,
) -> list[Finding]:
    """Reads the annotations that a list names, and counts what the host will use.

    Args:
        voc: The list.
        classes: That are learnt; a box of another is passed over by the host without a word.
        part: Of the data: 'train' ...
        smallest: Side of a box, in pixels, below which the host does not learn it.
        reader: Of the images, see :func:`~.pixels.reader_of`.

    Returns:
        Rows of the table; the first counts images, boxes and classes.

    Raises:
        DownstreamError: Names without annotation or image, annotations that the host cannot read,
            or no box of the classes.
    """
    names, files = names_of(voc.listed, voc.images, ".jpg")
    asked, files = files, [in_other_case(file) or file for file in files]
    notes = [voc.annotations / f"{name}.xml" for name in names]
    require(notes, f"of the {len(names):,} names in {printable(voc.listed)} have no annotation")
    require(files, f"of the {len(names):,} names in {printable(voc.listed)} have no image")
    try:
        read = [voc_image(file, classes) for file in notes]
    except FileRefusedError as error:
        raise DownstreamError(f"{error}.") from error
    for file, image in zip(notes, read, strict=True):
        if any(box.corners is None for box in image.boxes if box.name in classes):
            raise DownstreamError(f"{printable(file)}: it has an object without <bndbox>.")
    for wanted, found, file, image in zip(asked, files, notes, read, strict=True):
        if found != wanted and image.size is None:  # mmdet opens the name that it has made
            raise DownstreamError(
                f"{printable(file)} has no <size>, and for it mmdet opens "
                f"{printable(wanted.name)}: rename {printable(found.name)} to that."
            )
    every = Counter(box.name for image in read for box in image.boxes)
    learnt = Counter({name: every[name] for name in classes})
    if not learnt.total():
        there = some([f"{printable(name)} {n:,}" for name, n in every.most_common()], SHOWN)
        raise DownstreamError(
            f"{printable(voc.listed)}: its {every.total():,} boxes are of none of the "
            f"{len(classes)} classes that are learnt ({some(classes)}): "
            f"{there or 'no box at all'}. Name the classes in metainfo of each dataset, or write "
            "the set in COCO's format."
        )
    counts = some([f"{name} {learnt[name]:,}" for name in classes], SHOWN)
    rows = [
        Finding(
            "ok",
            part,
            f"{len(names):,} images, {learnt.total():,} boxes; {len(classes)} classes: {counts}",
        )
    ]
    rows += [*survey_pixels(files, part, reader), *in_another_case(files, ".jpg", part)]
    return [*rows, *_left_out(read, names, classes, part, smallest)]


def names_of(listed: Path, folder: Path, suffix: str) -> tuple[list[str], list[Path]]:
    """The names in a list, and their files in a folder.

    Raises:
        DownstreamError: It cannot be read, or names nothing.
    """
    try:
        names = voc_names(listed)
    except FileRefusedError as error:
        raise DownstreamError(f"the list {error}.") from error
    if not names:
        raise DownstreamError(f"the list {printable(listed)} is empty.")
    return names, [folder / f"{name.strip()}{suffix}" for name in names]


def in_another_case(files: Iterable[Path], suffix: str, part: str) -> Iterator[Finding]:
    """A row for images whose ending is written in another case than the host looks for."""
    used = sorted({*files})
    if odd := tuple(printable(file.name) for file in used if not file.name.endswith(suffix)):
        yield Finding(
            "note",
            part,
            f"{len(odd):,} of {len(used):,} images' names end in {suffix!r} in another case: they "
            "are used",
            odd,
        )


def require(files: Sequence[Path], without: str) -> None:
    """Checks that files are there, and regular.

    Args:
        files: Paths.
        without: End of the sentence that counts those that are not there.

    Raises:
        DownstreamError: That, with the first that was looked for, or one that cannot be read.
    """
    reasons = {file: why for file in files if (why := refusal(file))}
    missing = [file for file, why in reasons.items() if why == "no such file"]
    if missing:
        raise DownstreamError(
            f"{len(missing):,} {without}; the first looked for is {printable(missing[0])}."
        )
    for file, why in reasons.items():
        raise DownstreamError(f"{printable(file)}: {why}.")


def _left_out(
    read: Sequence[VocImage],
    names: Sequence[str],
    classes: Sequence[str],
    part: str,
    smallest: float | None,
) -> Iterator[Finding]:
    known = set(classes)
    boxes = [(box, image.size) for image in read for box in image.boxes if box.name in known]
    held = {box.name for box, _ in boxes}
    if absent := [printable(name) for name in classes if name not in held]:
        text = "1 class has no box" if len(absent) == 1 else f"{len(absent)} classes have no box"
        yield Finding("note", part, text, tuple(absent))
    odd = Counter(b.name for image in read for b in image.boxes if b.name not in known)
    if odd:
        text = f"{odd.total():,} boxes are of classes that are not learnt"
        shown = tuple(f"{printable(name)} {n:,}" for name, n in odd.most_common())
        yield Finding("note", part, text, shown)
    counts: Counter[str] = Counter()
    for box, size in boxes:
        left, top, right, bottom = box.corners or (0, 0, 0, 0)
        side = min(right - left, bottom - top)
        counts["are marked difficult: they are not learnt"] += bool(box.difficult)
        counts["do not say whether they are difficult, which evaluate asks"] += (
            box.difficult is None
        )
        counts["have no area: xmax or ymax is not above xmin or ymin"] += side <= 0
        if smallest and 0 < side < smallest:
            counts[f"are smaller than {smallest:g} px: they are not learnt"] += 1
        if size and (right > size[0] or bottom > size[1]):
            counts["reach beyond their image"] += 1
    for text, number in counts.items():
        if number:
            yield Finding("note", part, f"{number:,} of {len(boxes):,} boxes {text}")
    bare = [printable(n) for n, i in zip(names, read, strict=True) if not i.boxes]
    if bare:
        text = f"{len(bare):,} of {len(names):,} images have no box"
        yield Finding("note", part, text, tuple(bare))
    if again := [printable(name) for name, n in Counter(names).items() if n > 1]:
        yield Finding("note", part, f"{len(again):,} names are listed more than once", tuple(again))
