# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Reads an annotation file in COCO format and says what would go wrong with it."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..findings import some
from ..untrusted import FileRefusedError, in_other_case, printable, read_json, refusal
from ..untrusted.files import ANNOTATION_LIMIT
from .coco_mend import has_area, mend
from .errors import DownstreamError


class CocoAnnotations(NamedTuple):
    """What the checks need of an annotation file."""

    path: Path
    classes: list[str]  # in the order of their ids
    images: list[dict]
    boxes: list[dict]  # that have an area
    content: dict  # whole, mended
    mended: Counter[str]  # how many entries, by what was mended


MOST = 5  # names that a message shows
OTHER_CASE = "names of images have the case of their file's ending"
# What is read of each part: keys with their kinds. An image has a file_name or a coco_url.
NEEDED: dict[str, dict[str, Any]] = {
    "categories": {"id": int, "name": str},
    "images": {"id": (int, str)},
    "annotations": {"image_id": (int, str), "category_id": int},
}


def read_content(path: Path) -> Any:
    """Reads the JSON of an annotation file.

    Raises:
        DownstreamError: It is no regular file, above 4 GB, or no JSON with finite numbers.
    """
    try:
        return read_json(path, ANNOTATION_LIMIT)
    except FileRefusedError as error:
        raise DownstreamError(
            f"{printable(path)} is not an annotation file in JSON: {error}"
        ) from error


def read_coco(path: Path) -> CocoAnnotations:
    """Reads an annotation file, and mends what :func:`mend` can.

    Raises:
        DownstreamError: It is not JSON, lacks a part or what a part needs, names a class twice,
            gives two images or classes one id, or has no usable box.
    """
    content = read_content(path)
    parts = ("images", "annotations", "categories")
    lacking = [p for p in parts if not isinstance(content, dict) or not content.get(p)]
    if lacking == ["annotations"]:
        raise DownstreamError(f"{path} has no boxes: its list of annotations is empty.")
    if lacking:
        raise DownstreamError(
            f"{path} is not in COCO format: no {' and no '.join(lacking)}. It needs lists of "
            f"{', '.join(parts)}."
        )
    for part in parts:
        if not isinstance(content[part], list):
            raise DownstreamError(f"{path} is not in COCO format: its {part} are no list.")
    count = len(content["annotations"])
    mended = mend(content)
    _check_parts(path, content)
    for part in ("images", "categories"):
        ids = Counter(entry["id"] for entry in content[part])
        if twice := [i for i, number in ids.items() if number > 1]:
            raise DownstreamError(
                f"{path} gives several {part} one id ({some(twice, MOST)}): whose boxes are whose "
                "is not known. Give each an id of its own."
            )
    categories = sorted(content["categories"], key=lambda category: category["id"])
    names = [category["name"] for category in categories]
    named_twice = sorted({name for name in names if names.count(name) > 1})
    if named_twice:
        raise DownstreamError(
            f"{path} names these classes more than once: {', '.join(named_twice)}."
        )
    known = {category["id"] for category in categories}
    alien = {a["category_id"] for a in content["annotations"]} - known
    if alien:
        raise DownstreamError(
            f"{path} has annotations of the category ids {some(alien, MOST)}, which its "
            "list of categories does not have."
        )
    boxes = [a for a in content["annotations"] if has_area(a["bbox"])]
    if not boxes:
        why = "".join(f" {number} {what}." for what, number in mended.items())
        raise DownstreamError(
            f"{path} has no boxes: none of its {count} annotations has a bbox [x, y, width, "
            f"height] with an area, on an image that is listed.{why}"
        )
    return CocoAnnotations(path, names, content["images"], boxes, content, mended)


def check_images(annotations: CocoAnnotations, folder: Path) -> None:
    """Checks that every image the file names is in `folder`.

    Of one whose ending is written in another case, a.JPG for a.jpg, the content gets its own name.

    Raises:
        DownstreamError: With how many are missing, and the first of them.
    """
    held: dict[Path, set[str]] = {}  # one listing a folder: quicker than a look for every file
    missing: list[str] = []
    odd: list[str] = []
    for image in annotations.images:
        file = folder / file_name(image)
        if file.parent not in held:
            held[file.parent] = _files_in(file.parent)
        if file.name not in held[file.parent]:
            reason, there = refusal(file), in_other_case(file)
            if reason == "no such file" and there and not refusal(there):
                image["file_name"] = str(Path(file_name(image)).with_name(there.name))
                annotations.mended[OTHER_CASE] += 1
                continue
            (missing if reason in (None, "no such file") else odd).append(
                file_name(image) if reason == "no such file" else f"{file_name(image)} ({reason})"
            )
    if odd:
        raise DownstreamError(
            f"{annotations.path} names {len(odd)} of {len(annotations.images)} images that cannot "
            f"be read from {folder}: {some(odd, MOST)}. Mend the list or the files."
        )
    if missing:
        raise DownstreamError(
            f"{annotations.path} names {len(missing)} of {len(annotations.images)} images that "
            f"are not in {folder}: {some(missing, MOST)}. Name the folder that holds them "
            "(data_root and data_prefix.img), or mend the list."
        )


def folder_of_images(annotations: CocoAnnotations, folder: Path, others: Sequence[Path]) -> Path:
    """The folder that holds the first image that a file names: `folder`, else one of the others.

    The names may begin with a folder: then another one than usual holds them.
    """
    name = file_name(annotations.images[0])
    return next((found for found in (folder, *others) if in_other_case(found / name)), folder)


def check_classes(annotations: CocoAnnotations, classes: Sequence[str]) -> None:
    """Checks that the file knows every class that the detector is to learn.

    Raises:
        DownstreamError: With the classes that it lacks, and those that it has.
    """
    lacking = [name for name in classes if name not in annotations.classes]
    if lacking:
        raise DownstreamError(
            f"the class lists differ: {annotations.path} does not have {some(lacking, MOST)}; it "
            f"has {some(annotations.classes, MOST)}. The host would leave these out without a word."
        )


def check_masks(annotations: CocoAnnotations) -> None:
    """Checks that the boxes come with masks.

    Raises:
        DownstreamError: With how many do not.
    """
    bare = sum(not box.get("segmentation") for box in annotations.boxes)
    if bare:
        raise DownstreamError(
            f"{annotations.path}: {bare} of {len(annotations.boxes)} boxes have no segmentation, "
            "and this detector learns masks. Take a Faster R-CNN config for boxes only."
        )


def file_name(image: dict) -> str:
    """Returns the name of an image's file below the folder of the images."""
    # LVIS has addresses in the place of names: the last two parts are folder and file.
    name = image.get("file_name")
    return name if name else "/".join(image["coco_url"].split("/")[-2:])


def _check_parts(path: Path, content: dict) -> None:
    """Checks that each part has objects with what is read of them."""
    for part, needed in NEEDED.items():
        for place, entry in enumerate(content[part]):
            wrong = next((key for key, kind in needed.items() if not _has(entry, key, kind)), None)
            if part == "images" and not wrong and not _has_name(entry):
                wrong = "file_name"
            if wrong:
                raise DownstreamError(
                    f"{path} is not in COCO format: {part}[{place}] has no {wrong!r} that can be "
                    "read."
                )


def _has(entry: object, key: str, kind: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get(key), kind)
        and not isinstance(entry[key], bool)
    )


def _has_name(image: dict) -> bool:
    name = image.get("file_name") or image.get("coco_url")
    return isinstance(name, str) and "\0" not in name


def _files_in(folder: Path) -> set[str]:
    """Names of the regular files of a folder, links followed; none where it cannot be listed."""
    names = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_file():
                        names.add(entry.name)
                except OSError:  # a link to itself
                    continue
    except OSError:
        return set()
    return names
