# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a set in COCO format holds, as mmdet will see it, and the mended file that it reads."""

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..findings import Finding, some
from ..untrusted import image_size, is_hidden, printable
from . import coco_mend
from .coco_annotations import CocoAnnotations, file_name
from .errors import DownstreamError
from .pixels import CHECKED, spread, survey_pixels
from .settings import write_hashed

# Images whose files are opened to compare their sizes with the list (ours): all of a user's own
# set, a part of COCO that is spread over it.
COMPARED = 5000


def survey(
    annotations: CocoAnnotations,
    folder: Path,
    classes: Sequence[str],
    part: str,
    reader: str = CHECKED,
) -> list[Finding]:
    """Fills in sizes, orders the categories by the classes, and counts what the host will use.

    Args:
        annotations: Changed: its content is what :func:`write_mended` writes.
        folder: Of the images.
        classes: That are learnt, by their numbers.
        part: Of the data: 'train' ...
        reader: Of the images, see :func:`~.pixels.reader_of`.

    Returns:
        Rows of the table; the first counts images, boxes and classes.

    Raises:
        DownstreamError: Sizes that are neither in the list nor to be had from the files; boxes that
            are no pixels, or all outside of their images.
    """
    path, content = annotations.path, annotations.content
    given, failed = coco_mend.give_sizes(content, lambda i: image_size(folder / file_name(i)))
    if failed:
        raise DownstreamError(
            f"{path}: {len(failed)} images have no width and height, and their files cannot be "
            f"read: {some(map(printable, failed))}."
        )
    if given:
        annotations.mended["images without width or height have their file's"] = len(given)
    lost = _lost(annotations)
    usable = len(annotations.boxes) - sum(lost.values())
    if not usable:
        why = ", ".join(f"{number} {what}" for what, number in lost.items())
        hint = (
            " They are shares of the image's sides; COCO's boxes are pixels: multiply x and width "
            "by the image's width, y and height by its height."
            if all(max(map(abs, box["bbox"])) <= 1.5 for box in annotations.boxes)
            else ""
        )
        raise DownstreamError(
            f"{path}: the host would leave out each of its {len(annotations.boxes)} boxes "
            f"({why}).{hint}"
        )
    if coco_mend.order_categories(content, classes):
        annotations.mended[
            "classes are listed in the order in which they are learnt, by their names"
        ] = len(content["categories"])
    return [*_rows(annotations, folder, classes, part, lost, reader)]


def write_mended(annotations: CocoAnnotations, folder: Path) -> Path:
    """The file that the host shall read: the user's, or a mended copy in `folder`.

    The copy's name holds a hash of its content: the same data have the same file.
    """
    if not annotations.mended:
        return annotations.path
    text = json.dumps(annotations.content)
    return write_hashed(text, folder, f"{annotations.path.stem}-", ".json")


def _rows(
    annotations: CocoAnnotations,
    folder: Path,
    classes: Sequence[str],
    part: str,
    lost: Counter,
    reader: str,
) -> Iterator[Finding]:
    names = {c["id"]: c["name"] for c in annotations.content["categories"]}
    held = Counter(dict.fromkeys(classes, 0))
    held.update(
        names[box["category_id"]]
        for box in annotations.boxes
        if names[box["category_id"]] in held and not box["iscrowd"]
    )
    counts = ", ".join(f"{name} {held[name]:,}" for name in list(classes)[:10])
    more = f" and {len(classes) - 10:,} more" if len(classes) > 10 else ""
    images, boxes = annotations.images, annotations.boxes
    yield Finding(
        "ok",
        part,
        f"{len(images):,} images, {len(boxes):,} boxes; {len(classes)} classes: "
        f"{printable(counts)}{more}",
    )
    yield from survey_pixels([folder / file_name(image) for image in images], part, reader)
    if absent := [printable(name) for name in classes if not held[name]]:
        text = "1 class has no box" if len(absent) == 1 else f"{len(absent)} classes have no box"
        yield Finding("note", part, text, tuple(absent))
    if crowds := sum(bool(box["iscrowd"]) for box in boxes):
        text = f"{crowds:,} of {len(boxes):,} boxes are crowds (iscrowd), which are not learnt"
        yield Finding("note", part, text)
    if far := _beyond(annotations):
        text = f"{far:,} of {len(boxes):,} boxes reach beyond their image"
        if 5 * far > len(boxes):
            text += ": are they [left, top, right, bottom]? COCO's are [left, top, width, height]"
        yield Finding("note", part, text)
    for what, number in annotations.mended.items():
        yield Finding("note", part, f"mended in a copy: {number:,} {what}")
    for what, number in lost.items():
        yield Finding("note", part, f"the host leaves out {number:,} boxes {what}")
    with_boxes = {box["image_id"] for box in boxes}
    if bare := [printable(file_name(i)) for i in images if i["id"] not in with_boxes]:
        text = f"{len(bare):,} of {len(images):,} images have no box"
        yield Finding("note", part, text, tuple(bare))
    twice = Counter(map(file_name, images))
    if again := [printable(name) for name, number in twice.items() if number > 1]:
        yield Finding("note", part, f"{len(again):,} files are listed more than once", tuple(again))
    if unlike := [*_unlike_sizes(spread(images, COMPARED), folder)]:
        text = (
            f"{len(unlike):,} images have another size in their file, upright, than in the list: "
            "their boxes are shifted, or lost"
        )
        yield Finding("note", part, text, tuple(unlike))
    if extra := _not_listed(images, folder):
        yield Finding("note", part, f"{len(extra):,} files in {folder} are not listed", extra)


def _lost(annotations: CocoAnnotations) -> Counter[str]:
    """How many boxes the host drops, by why."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in annotations.images}
    lost: Counter[str] = Counter()
    for box in annotations.boxes:
        x, y, width, height = box["bbox"]
        right, bottom = sizes[box["image_id"]]
        inside = min(x + width, right) - max(x, 0), min(y + height, bottom) - max(y, 0)
        if min(inside) <= 0:
            lost["outside of their image"] += 1
        elif min(width, height) < 1:
            lost["thinner than a pixel"] += 1
        elif box.get("ignore"):
            lost["that are marked 'ignore'"] += 1
    return lost


def _beyond(annotations: CocoAnnotations) -> int:
    """How many boxes end more than a pixel, and a hundredth of a side, outside of their image."""
    sizes = {image["id"]: (image["width"], image["height"]) for image in annotations.images}
    found = 0
    for box in annotations.boxes:
        (x, y, width, height), (right, bottom) = box["bbox"], sizes[box["image_id"]]
        found += x + width > 1.01 * right + 1 or y + height > 1.01 * bottom + 1
    return found


def _unlike_sizes(images: Sequence[dict], folder: Path) -> Iterator[str]:
    for image in images:
        found = image_size(folder / file_name(image))
        if found and found != (image["width"], image["height"]):
            listed = f"{image['width']}x{image['height']}"
            yield f"{printable(file_name(image))} ({found[0]}x{found[1]}, listed {listed})"


def _not_listed(images: Sequence[dict], folder: Path) -> tuple[str, ...]:
    """Images beside those that are listed, in the folder itself."""
    listed = {file_name(image) for image in images}
    try:
        there = sorted(e.name for e in os.scandir(folder) if e.is_file() and not is_hidden(e.name))
    except OSError:
        return ()
    return tuple(printable(name) for name in there if name not in listed)
