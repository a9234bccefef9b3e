# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Reads an annotation file in COCO format and says what would go wrong with it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from .errors import DownstreamError


class CocoAnnotations(NamedTuple):
    """What the checks need of an annotation file."""

    path: Path
    classes: list[str]  # in the order of their ids
    images: list[dict]
    boxes: list[dict]


def read_coco(path: Path) -> CocoAnnotations:
    """Reads an annotation file.

    Raises:
        DownstreamError: It is not JSON, lacks a part, names a class twice, or has no usable box.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DownstreamError(f"{path} is not an annotation file in JSON: {error}") from error
    parts = ("images", "annotations", "categories")
    lacking = [p for p in parts if not isinstance(content, dict) or not content.get(p)]
    if lacking == ["annotations"]:
        raise DownstreamError(f"{path} has no boxes: its list of annotations is empty.")
    if lacking:
        raise DownstreamError(
            f"{path} is not in COCO format: no {' and no '.join(lacking)}. It needs lists of "
            f"{', '.join(parts)}."
        )
    categories = sorted(content["categories"], key=lambda category: category["id"])
    names = [category["name"] for category in categories]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DownstreamError(f"{path} names these classes more than once: {', '.join(twice)}.")
    known = {category["id"] for category in categories}
    alien = {a["category_id"] for a in content["annotations"]} - known
    if alien:
        raise DownstreamError(
            f"{path} has annotations of the category ids {_some(alien)}, which its list of "
            "categories does not have."
        )
    boxes = [a for a in content["annotations"] if _has_area(a.get("bbox"))]
    if not boxes:
        raise DownstreamError(
            f"{path} has no boxes: none of its {len(content['annotations'])} annotations has a "
            "bbox [x, y, width, height] with an area."
        )
    return CocoAnnotations(path, names, content["images"], boxes)


def check_images(annotations: CocoAnnotations, folder: Path) -> None:
    """Checks that every image the file names is in `folder`.

    Raises:
        DownstreamError: With how many are missing, and the first of them.
    """
    held: dict[Path, set[str]] = {}  # one listing a folder: quicker than a look for every file
    missing = []
    for image in annotations.images:
        file = folder / file_name(image)
        if file.parent not in held:
            there = file.parent.is_dir()
            held[file.parent] = {p.name for p in file.parent.iterdir()} if there else set()
        if file.name not in held[file.parent]:
            missing.append(file_name(image))
    if missing:
        raise DownstreamError(
            f"{annotations.path} names {len(missing)} of {len(annotations.images)} images that "
            f"are not in {folder}: {_some(missing)}. Name the folder that holds them (data_root "
            "and data_prefix.img), or mend the list."
        )


def check_classes(annotations: CocoAnnotations, classes: Sequence[str]) -> None:
    """Checks that the file knows every class that the detector is to learn.

    Raises:
        DownstreamError: With the classes that it lacks, and those that it has.
    """
    lacking = [name for name in classes if name not in annotations.classes]
    if lacking:
        raise DownstreamError(
            f"the class lists differ: {annotations.path} does not have {_some(lacking)}; it has "
            f"{_some(annotations.classes)}. The host would leave these out without a word."
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


def _has_area(box: Sequence[float] | None) -> bool:
    return box is not None and len(box) == 4 and box[2] > 0 and box[3] > 0


def _some(values: Iterable, most: int = 5) -> str:
    items = list(values)
    shown = ", ".join(str(value) for value in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
