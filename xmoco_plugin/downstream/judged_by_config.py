# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The images that a fine-tuning's config has its model judged by, in whatever folders they are."""

from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..untrusted import FileRefusedError, in_other_case, read_text
from . import coco_annotations as coco
from .errors import DownstreamError
from .mask_folder import layout_of, pairs
from .prepare import leaf_datasets, voc_list
from .settings import host_dataset
from .voc_survey import names_of

STAGES = ("val", "test")


def judged_by(cfg: Config) -> dict[str, list[str]]:
    """Paths of the images of a config's val and test sets; no image is in two of them.

    Known are COCO's format, PASCAL VOC's, and mmseg's folders of masks. A set of another kind has
    none here.

    Args:
        cfg: As :func:`~.prepare.prepare` leaves it.

    Raises:
        DownstreamError: A list that it names cannot be read.
    """
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for stage in STAGES:
        loader = cfg.get(f"{stage}_dataloader")
        for data in leaf_datasets(loader.dataset) if loader else ():
            new = [file for file in images_of(data) if file not in seen]
            seen.update(new)
            found.setdefault(stage, []).extend(new)
    return {stage: files for stage, files in found.items() if files}


def images_of(data: ConfigDict) -> list[str]:
    """Paths of the images that a dataset's config reads; none of a kind that is not known.

    Raises:
        DownstreamError: Its list cannot be read.
    """
    root, prefix = Path(data.get("data_root") or ""), data.get("data_prefix") or {}
    listed = root / data.ann_file if data.get("ann_file") else None
    if listed is not None and listed.suffix == ".json":
        folder = root / (prefix.get("img") or "")
        paths = [folder / coco.file_name(image) for image in coco.read_coco(listed).images]
    elif "seg_map_path" in prefix:
        paths = _with_masks(data, listed)
    elif listed is not None and (voc := voc_list(data, listed)):
        paths = names_of(voc.listed, voc.images, ".jpg")[1]
    else:
        return []
    return [str(in_other_case(path) or path) for path in paths]


def _with_masks(data: ConfigDict, listed: Path | None) -> list[Path]:
    root, prefix = Path(data.get("data_root") or ""), data.data_prefix
    images, folder = (root / (prefix.get(key) or "") for key in ("img_path", "seg_map_path"))
    layout = layout_of(data, host_dataset(data, "mmseg"))
    if listed is None or not listed.is_file():
        found = pairs(images, folder, layout["img_suffix"], layout["seg_map_suffix"])
        return [pair.image for pair in found]
    try:
        lines = read_text(listed).splitlines()
    except FileRefusedError as error:
        raise DownstreamError(f"the list {listed} cannot be read: {error}") from error
    return [images / (line.strip() + layout["img_suffix"]) for line in lines if line.strip()]
