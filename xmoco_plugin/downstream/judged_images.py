# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The images of a labelled set that a model is judged by: those of val and test."""

import os
import re
from pathlib import Path

from ..untrusted import (
    FileRefusedError,
    FolderError,
    folders_in,
    in_other_case,
    printable,
    read_regular,
    walk_images,
)
from ..untrusted.files import TEXT_LIMIT
from . import coco_annotations as coco
from .errors import DownstreamError
from .survey import has_images, lists_of, voc_years

PARTS = ("val", "valid", "validation", "test")
NAMED = re.compile(rf"(?<![a-z])({'|'.join(PARTS)})(?![a-z])", re.I)  # not latest, evaluated
TRAINING = "train"  # in the name of what is not judged by


def judged_images(root: Path) -> dict[str, list[str]]:
    """Paths of the images of val and test, by part; of a folder without parts, of all.

    Known are sets as a fine-tuning takes them: JSON lists in ``annotations/`` or beside the images,
    those named for val or test, or else all, or one named itself (COCO); ``img_dir/val`` (mmseg);
    ``ImageSets`` (PASCAL VOC), of one year or of several; ``val/`` and ``test/``, with or without
    classes, there or in ``images/`` or ``leftImg8bit/`` (ADE20K, Cityscapes).

    Raises:
        DownstreamError: There are training images alone, a list that cannot be read, or no images.
    """
    try:
        found = _find(root)
    except (FolderError, FileRefusedError) as error:
        raise DownstreamError(f"{printable(root)}: {error}") from error
    found = {part: files for part, files in found.items() if files}
    if not found:
        raise DownstreamError(
            f"{printable(root)} has no images of val or test: neither JSON lists (COCO), nor "
            "img_dir/val, ImageSets/*/val.txt, val/ or test/. Name a folder of images, or a list."
        )
    return found


def _find(root: Path) -> dict[str, list[str]]:
    if root.is_file():
        return {root.stem: _of_list(root.parent.parent, root)}
    folders = folders_in(root)
    found: dict[str, list[str]] = {}  # of all layouts: one folder may have boxes and masks
    if "img_dir" in folders:
        _add(found, _of_folders(root / "img_dir"))
    for year in voc_years(root):
        _add(found, _of_voc(year))
    for file in _lists(root):
        _add(found, {_part(file.stem): _of_list(root, file)})
    for name in {"leftImg8bit", "images"} & set(folders) if not found else ():
        _add(found, _of_folders(root / name))
    if found:
        return found
    if set(PARTS) & set(folders):
        return _of_folders(root)
    files = _below(root)
    trained = any(TRAINING in part for file in files for part in Path(file).relative_to(root).parts)
    return {} if trained else {"images": files}


def _lists(root: Path) -> list[Path]:
    """Lists that a model is judged by: named for a part, or of images where none is so named.

    Beside them lie captions and keypoints of the same images, results, and whatever else.
    """
    judged = [file for file in lists_of(root) if TRAINING not in file.stem]
    judged = [file for file in judged if file.stem.startswith("instances_")] or judged
    named = [file for file in judged if NAMED.search(file.stem)]
    return named or [*filter(has_images, judged)] or judged


def _add(found: dict[str, list[str]], more: dict[str, list[str]]) -> None:
    for part, files in more.items():
        found[part] = [*dict.fromkeys([*found.get(part, []), *files])]


def _part(stem: str) -> str:
    named = NAMED.search(stem)
    return named[1].lower() if named else stem


def _of_folders(root: Path) -> dict[str, list[str]]:
    return {part: _below(root / part) for part in folders_in(root) if part in PARTS}


def _below(folder: Path) -> list[str]:
    return [os.path.join(folder, name) for name in walk_images(folder)[0]]


def _of_list(root: Path, file: Path) -> list[str]:
    """Images that a list in COCO format names; boxes are not asked for."""
    content = coco.read_content(file)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise DownstreamError(f"{printable(file)} is not in COCO format: it lists no images.")
    names = []
    for image in images:
        try:
            name = coco.file_name(image)
        except (AttributeError, KeyError, TypeError):
            name = None
        if not isinstance(name, str) or "\0" in name:
            raise DownstreamError(f"{printable(file)}: an image without file_name or coco_url.")
        names.append(name)
    stem = file.stem.removeprefix("instances_")
    places = [root / stem, root / "images" / stem, root / "images", root, file.parent]
    folder = next((place for place in places if in_other_case(place / names[0])), places[0])
    paths = [os.path.join(folder, name) for name in names]
    return [str(in_other_case(path) or path) for path in paths]


def _of_voc(root: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for folder in folders_in(root / "ImageSets"):
        for part in PARTS:
            file = root / "ImageSets" / folder / f"{part}.txt"
            if not file.is_file():
                continue
            lines = read_regular(file, TEXT_LIMIT).splitlines()
            names = [os.fsdecode(line.split()[0]) for line in lines if line.split()]
            paths = [root / "JPEGImages" / f"{name}.jpg" for name in names]
            _add(found, {part: [str(in_other_case(path) or path) for path in paths]})
    return found
