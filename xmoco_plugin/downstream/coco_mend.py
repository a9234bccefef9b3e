# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Gives annotations in COCO format what mmdet and pycocotools need, where it has one meaning.

pycocotools takes a box whose id is 0 for none; mmdet asserts unique ids, drops boxes whose area is
0, and numbers classes in the order of the file's list. What is mended is counted; nothing is
guessed.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

# What was mended, by the words that a user reads after the number of entries.
AREA = "boxes without an area have that of their outline or box"
CROWD = "boxes without iscrowd have 0"
IDS = "boxes have new ids: theirs were missing, 0, no numbers, or not unique"
IMAGE_IDS = "images have new ids: theirs were no numbers"
REFERENCES = "boxes name their image or class by another type, 1 as '1'"
CATEGORY_IDS = "classes have ids that were texts"
TEXTS = "boxes have a bbox in texts, which are read as numbers"
OUTLINES = "boxes without bbox have that of their outline"
NO_BOX = "boxes are left out: their bbox is not four numbers [x, y, width, height]"
STRAY = "boxes are left out: they are of images that the file does not list"


def mend(content: dict) -> Counter[str]:
    """Mends in place; returns how many entries by what was mended.

    Args:
        content: Of an annotation file: lists of ``images``, ``annotations`` and ``categories``,
            whose entries are dicts. What else is wrong with them stays so.
    """
    done: Counter[str] = Counter()
    categories = [c for c in content["categories"] if isinstance(c, dict)]
    classes = _numbered(categories, done, CATEGORY_IDS, renumber=False)
    images = _numbered(
        [i for i in content["images"] if isinstance(i, dict)], done, IMAGE_IDS, renumber=True
    )
    known = set(images.values())  # a look through a dict's values is as long as the list of images
    kept: list[Any] = []
    for box in content["annotations"]:
        if not isinstance(box, dict):
            kept.append(box)  # refused afterwards, by its place
            continue
        _refer(box, "image_id", images, done)
        _refer(box, "category_id", classes, done)
        if _is_id(box.get("image_id")) and box["image_id"] not in known:
            done[STRAY] += 1
        elif _give_box(box, done):
            _give_area(box, done)
            _give_crowd(box, done)
            kept.append(box)
        else:
            done[NO_BOX] += 1
    content["annotations"] = kept
    ids = [box.get("id") for box in kept if isinstance(box, dict)]
    right = all(isinstance(i, int) and not isinstance(i, bool) and i > 0 for i in ids)
    if not right or len(set(ids)) < len(ids):
        done[IDS] = len(ids)
        for number, box in enumerate(kept, 1):
            if isinstance(box, dict):
                box["id"] = number
    return done


def order_categories(content: dict, classes: Sequence[str]) -> bool:
    """Lists the categories in the order of the classes that are learnt; whether it did.

    mmdet numbers classes in the order in which a file lists them, whatever the order of the names
    that it is given: two files that list them in two orders would mean two things by a number.
    """
    place = {name: number for number, name in enumerate(classes)}
    found = sorted(content["categories"], key=lambda c: place.get(c["name"], len(place)))
    learnt = [c["name"] for c in content["categories"] if c["name"] in place]
    if learnt == sorted(learnt, key=place.__getitem__):
        return False
    content["categories"] = found
    return True


def give_sizes(
    content: dict, size_of: Callable[[dict], tuple[int, int] | None]
) -> tuple[list[str], list[str]]:
    """Fills in width and height of images that lack one.

    Args:
        content: Changed in place.
        size_of: Width and height, in pixels, of an image's file; None where it cannot be read.

    Returns:
        Names of the images that have got theirs, and of those whose file cannot be read.
    """
    given, failed = [], []
    for image in content["images"]:
        if all(_is_size(image.get(key)) for key in ("width", "height")):
            continue
        size = size_of(image)
        name = str(image.get("file_name") or image.get("id"))
        if size is None:
            failed.append(name)
        else:
            image["width"], image["height"] = size
            given.append(name)
    return given, failed


def is_box(box: object) -> bool:
    """Whether a bbox is four finite numbers."""
    return isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))


def has_area(box: object) -> bool:
    """Whether a bbox is [x, y, width, height] with an area."""
    return is_box(box) and box[2] > 0 and box[3] > 0  # type: ignore[index]


def _numbered(
    entries: list[dict], done: Counter[str], what: str, renumber: bool
) -> dict[object, int]:
    """Turns ids into integers; old ids, and as texts, by new ones."""
    ids = [entry.get("id") for entry in entries]
    if any(not _is_id(i) for i in ids) or len({str(i) for i in ids}) < len(ids):
        return {i: i for i in ids if isinstance(i, (int, str))}  # type: ignore[misc]
    if all(isinstance(i, int) for i in ids):
        new = {i: i for i in ids}
    elif all(str(i).strip().isdecimal() for i in ids):
        new = {i: int(str(i)) for i in ids}
    elif renumber:
        new = {i: number for number, i in enumerate(ids, 1)}
    else:
        return {i: i for i in ids}  # type: ignore[misc]
    if any(not isinstance(i, int) for i in ids):
        done[what] = len(ids)
        for entry in entries:
            entry["id"] = new[entry["id"]]
    return new  # type: ignore[return-value]


def _refer(box: dict, key: str, ids: dict[object, int], done: Counter[str]) -> None:
    """Lets a box name its image or class by the id that this has now."""
    value = box.get(key)
    if not _is_id(value) and not (isinstance(value, float) and value.is_integer()):
        return
    if value in ids and not isinstance(value, float):
        box[key] = ids[value]
        return
    text = str(value).strip() if isinstance(value, str) else str(int(value))  # type: ignore[arg-type]
    other = text if text in ids else int(text) if text.isdecimal() and len(text) < 19 else None
    if other in ids:
        box[key] = ids[other]
        done[REFERENCES] += 1


def _give_box(box: dict, done: Counter[str]) -> bool:
    if is_box(box.get("bbox")):
        return True
    if is_box(numbers := _numbers(box.get("bbox"))):
        box["bbox"] = numbers
        done[TEXTS] += 1
        return True
    points = _points(box.get("segmentation"))
    if box.get("bbox") or not points:
        return False
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    box["bbox"] = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    done[OUTLINES] += 1
    return True


def _numbers(values: object) -> object:
    """A list with its texts as numbers; as it is where one is none."""
    try:
        return [float(v) if isinstance(v, str) else v for v in values]  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return values


def _give_area(box: dict, done: Counter[str]) -> None:
    area, (_, _, width, height) = box.get("area"), box["bbox"]
    # One that has nothing to see stays as it is: the host leaves it out either way.
    if _is_number(area) and (area > 0 or min(width, height) < 1):  # type: ignore[operator]
        return
    outlines = box.get("segmentation")
    found = 0.0
    if isinstance(outlines, list):
        found = sum(_area(_points([outline])) for outline in outlines)
    box["area"] = found or max(width, 0) * max(height, 0)
    done[AREA] += 1


def _give_crowd(box: dict, done: Counter[str]) -> None:
    if isinstance(box.get("iscrowd"), int) and not isinstance(box["iscrowd"], bool):
        return
    box["iscrowd"] = int(str(box.get("iscrowd")).lower() in ("1", "1.0", "true"))
    done[CROWD] += 1


def _points(outlines: object) -> list[tuple[float, float]]:
    """Points of polygons; none of a mask in runs."""
    flat = [o for o in outlines if isinstance(o, list)] if isinstance(outlines, list) else []
    flat = [o for o in flat if len(o) >= 6 and len(o) % 2 == 0 and all(map(_is_number, o))]
    return [(o[i], o[i + 1]) for o in flat for i in range(0, len(o), 2)]


def _area(points: list[tuple[float, float]]) -> float:
    turned = zip(points, [*points[1:], *points[:1]], strict=True)
    return abs(sum(x * v - u * y for (x, y), (u, v) in turned)) / 2


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_id(value: object) -> bool:
    return isinstance(value, (int, str)) and not isinstance(value, bool)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
