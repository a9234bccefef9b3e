# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A folder for detection or segmentation, recognised and looked at as a fine-tuning looks at it."""

import os
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import ConfigDict

from ..findings import Finding
from ..untrusted import folders_in, is_hidden, printable
from . import coco_annotations as coco
from . import mask_folder as masks
from .coco_survey import survey as survey_coco
from .errors import DownstreamError
from .prepare_masks import survey_masks

STAGES = ("train", "val", "test")


def survey_folder(root: Path) -> list[Finding] | None:
    """What a folder holds for detection (JSON in annotations/) or segmentation (img_dir, ann_dir).

    Returns:
        Rows of the table, where one must be mended with the reason; None for another layout.
    """
    if (root / "img_dir").is_dir() and (root / "ann_dir").is_dir():
        return _masks(root)
    lists = annotation_lists(root / "annotations") or [*filter(_has_images, annotation_lists(root))]
    return [*_boxes(root, lists)] if lists else None


def annotation_lists(folder: Path) -> list[Path]:
    """Files in JSON that may be annotations, that of the training first."""
    if not folder.is_dir():
        return []
    files = [
        folder / name
        for name in sorted(os.listdir(folder))
        if name.endswith(".json") and name != masks.CLASSES_FILE and not is_hidden(name)
    ]
    return sorted(files, key=lambda file: ("train" not in file.stem, file.stem))


def _has_images(file: Path) -> bool:
    """Whether a file beside images is a list of them: any other may lie there too."""
    try:
        content = coco.read_content(file)
    except DownstreamError:
        return False
    return isinstance(content, dict) and "images" in content and "annotations" in content


def _boxes(root: Path, lists: list[Path]) -> Iterator[Finding]:
    classes: list[str] = []
    first = lists[0]  # whose classes these are
    # COCO's own folder has captions and keypoints of the same images beside the boxes.
    if chosen := [file for file in lists if file.stem.startswith("instances_")]:
        if others := tuple(printable(file.name) for file in lists if file not in chosen):
            yield Finding("note", "lists", f"{len(others)} lists of other kinds are left", others)
        lists = chosen
    for file in lists:
        part = next((stage for stage in STAGES if stage in file.stem), file.stem)
        try:
            annotations = coco.read_coco(file)
            if classes and set(annotations.classes) != set(classes):
                raise DownstreamError(
                    f"the class lists differ: {file} has {', '.join(annotations.classes)}, "
                    f"{first} has {', '.join(classes)}."
                )
            if not classes:
                classes, first = annotations.classes, file
            folder = _images_of(root, annotations)
            coco.check_images(annotations, folder)
            yield from survey_coco(annotations, folder, classes, part)
        except DownstreamError as error:
            yield Finding("MEND", part, str(error))


def _images_of(root: Path, annotations: coco.CocoAnnotations) -> Path:
    """The folder that holds the first image of a list; the usual one where none does."""
    stem = annotations.path.stem.removeprefix("instances_")
    others = [root / "images" / stem, root / "images", root]
    return coco.folder_of_images(annotations, root / stem, others)


def _masks(root: Path) -> list[Finding]:
    stages = {
        stage: [
            ConfigDict(
                data_root=str(root),
                data_prefix=dict(img_path=f"img_dir/{stage}", seg_map_path=f"ann_dir/{stage}"),
                **masks.LAYOUT,
            )
        ]
        for stage in sorted(folders_in(root / "img_dir"), key=lambda s: (s != "train", s))
    }
    try:
        return survey_masks(stages)[1]
    except DownstreamError as error:
        return [Finding("MEND", "masks", str(error))]
