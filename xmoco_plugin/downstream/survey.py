# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A folder for detection or segmentation, recognised and looked at as a fine-tuning looks at it."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from mmengine.config import ConfigDict

from ..findings import Finding
from ..untrusted import folders_in, is_hidden, printable
from . import coco_annotations as coco
from . import mask_folder as masks
from .coco_survey import survey as survey_coco
from .errors import DownstreamError
from .host_masks import survey_pairs
from .prepare_masks import survey_masks
from .voc_survey import VocList, in_another_case, names_of, survey_voc

STAGES = ("train", "val", "test")
VOC_LISTS = ("train", "val", "trainval", "test", "aug")


def survey_folder(root: Path, voc: Sequence[str] = ()) -> list[Finding] | None:
    """What a folder holds for detection (JSON in annotations/) or segmentation (img_dir, ann_dir).

    Of VOC's own format (JPEGImages/, ImageSets/) both, of one year or of the folder of the years.

    Args:
        root: The folder.
        voc: VOC's classes, which the configs for its format learn.

    Returns:
        Rows of the table, where one must be mended with the reason; None for another layout.
    """
    if (root / "img_dir").is_dir() and (root / "ann_dir").is_dir():
        return _masks(root)
    if years := voc_years(root):
        return [row for year in years for row in _voc(year, voc, year.name if year != root else "")]
    lists = lists_of(root)
    return [*_boxes(root, lists)] if lists else None


def voc_years(root: Path) -> list[Path]:
    """Folders in VOC's format: of one year, or those of the folder of the years."""
    return [folder for folder in (root, *_below(root)) if _is_voc(folder)]


def lists_of(root: Path) -> list[Path]:
    """Lists in COCO's format of a set: in annotations/, or beside the images."""
    return annotation_lists(root / "annotations") or [*filter(has_images, annotation_lists(root))]


def _below(root: Path) -> list[Path]:
    return [root / name for name in folders_in(root) if name.startswith("VOC")]


def _is_voc(root: Path) -> bool:
    return (root / "JPEGImages").is_dir() and (root / "ImageSets").is_dir()


def _voc(root: Path, classes: Sequence[str], year: str) -> Iterator[Finding]:
    """Rows for each list of boxes and of masks, and for images that are in none."""
    images, listed = root / "JPEGImages", set[str]()
    for kind in ("Main", "Segmentation"):
        for stage in VOC_LISTS:
            file = root / "ImageSets" / kind / f"{stage}.txt"
            masks_of = root / ("SegmentationClassAug" if stage == "aug" else "SegmentationClass")
            if not file.is_file() or (kind == "Segmentation" and not masks_of.is_dir()):
                continue
            part = " ".join(filter(None, (year, stage, "masks" if kind != "Main" else "")))
            try:
                listed.update(names_of(file, images, "")[0])
                if kind == "Main":
                    voc = VocList(file, root / "Annotations", images)
                    yield from survey_voc(voc, classes, part)
                else:
                    pairs = masks.listed_pairs(file, images, masks_of, ".jpg", ".png")
                    yield from survey_pairs(pairs, ["background", *classes], part)
                    yield from in_another_case((pair.image for pair in pairs), ".jpg", part)
            except DownstreamError as error:
                yield Finding("MEND", part, str(error))
    if not listed:
        yield Finding("MEND", year or "lists", f"no list of names in {printable(root)}/ImageSets")
        return
    others = [name for name in sorted(os.listdir(images)) if not is_hidden(name)]
    alone = tuple(printable(name) for name in others if Path(name).stem not in listed)
    if alone:
        text = f"{len(alone):,} of {len(others):,} files in JPEGImages are in no list"
        yield Finding("note", year or "images", text, alone)


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


def has_images(file: Path) -> bool:
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
