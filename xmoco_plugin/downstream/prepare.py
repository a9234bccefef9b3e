# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fills in what a fine-tuning config leaves open, and checks its data before anything is built."""

import importlib
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..findings import Finding
from ..untrusted import printable
from ..weights import check_checkpoint
from . import coco_annotations as coco
from .coco_survey import survey, write_mended
from .errors import DownstreamError
from .host_masks import survey_host_masks
from .pixels import reader_of
from .prepare_masks import prepare_masks
from .settings import (
    class_names,
    dicts,
    host_dataset,
    mended_folder,
    set_num_classes,
    trained_meta,
)
from .voc_survey import VocList, survey_voc

SCOPES = {"mmdet": "detection", "mmseg": "segmentation"}
STAGES = ("train", "val", "test")
INSTALL = (
    "In a checkout: make setup-transfer. Elsewhere: install mmcv with its compiled ops, mmdet and "
    "mmseg (docs/detector.md)."
)


def require_libraries(scope: str) -> None:
    """Checks that mmcv's compiled ops and the host library of `scope` can be imported.

    Raises:
        DownstreamError: With what is missing and the command that installs it.
    """
    for module in ("mmcv.ops", f"{scope}.models", f"{scope}.datasets"):
        try:
            importlib.import_module(module)
        except (ImportError, AssertionError) as error:  # mmdet asserts its versions
            what = "mmcv's compiled ops" if module == "mmcv.ops" else scope
            raise DownstreamError(
                f"{SCOPES[scope]} needs {what}, which this environment lacks ({error}). {INSTALL}"
            ) from error


def prepare(cfg: Config) -> list[Finding]:
    """Makes a fine-tuning config ready to run; any other is left as it is.

    The checkpoint in ``pretrained`` goes into every empty ``init_cfg``, for a classifier too. In
    detection and segmentation, where the config has ``class_names``, they are read from the data if
    it is empty, and model and datasets are set by them; evaluators read the annotation file of the
    dataset they judge. An annotation file that the hosts would read wrongly or not at all is mended
    in a copy, in the work dir's ``annotations/``, where its content has one meaning.

    Args:
        cfg: Changed in place.

    Returns:
        What the data hold, and what of them will not be used.

    Raises:
        DownstreamError: The libraries, the checkpoint's name or the data are not fit to start.
        CheckpointError: The pretraining checkpoint cannot be read without running code.
    """
    scope = cfg.get("default_scope")
    if scope in SCOPES:
        require_libraries(scope)
    elif "pretrained" not in cfg:
        return []
    if cfg.get("train_cfg"):
        _fill_checkpoint(cfg)
    else:
        _drop_arrival(cfg)  # what is tested is a detector, not what it started from
    stages = {
        stage: list(leaf_datasets(cfg[f"{stage}_dataloader"].dataset))
        for stage in STAGES
        if cfg.get(f"{stage}_dataloader")
    }
    if scope == "mmdet":
        return _prepare_detection(cfg, stages)
    if scope == "mmseg":
        if "class_names" in cfg:
            return prepare_masks(cfg, stages)
        return survey_host_masks(stages, cfg)
    return []


def pretrained_starts(cfg: Config) -> list[ConfigDict]:
    """Returns each ``init_cfg`` of a config's model, or item of one, that reads a checkpoint."""
    return [init for part in dicts(cfg.model) for init in _inits(part) if _reads(init)]


def from_scratch(cfg: Config) -> None:
    """Takes the pretraining checkpoint, and the proof that it arrived, out of a config."""
    for part in dicts(cfg.model):
        others = [init for init in _inits(part) if not _reads(init)]
        if len(others) < len(_inits(part)):
            part.init_cfg = others or None
    _drop_arrival(cfg)


def from_imagenet(cfg: Config) -> None:
    """Lets the checkpoint be a file in torchvision's layout, whose keys have no prefix."""
    for init in pretrained_starts(cfg):
        init.prefix = None


def leaf_datasets(data: ConfigDict) -> Iterator[ConfigDict]:
    """Yields a dataset's config, or those inside a wrapper (ConcatDataset, RepeatDataset, ...)."""
    wrapped = data.get("datasets") or data.get("dataset")
    if wrapped is None:
        yield data
        return
    for item in wrapped if isinstance(wrapped, (list, tuple)) else [wrapped]:
        yield from leaf_datasets(item)


def _drop_arrival(cfg: Config) -> None:
    hooks = cfg.get("custom_hooks") or []
    cfg.custom_hooks = [hook for hook in hooks if hook["type"] != "BackboneArrivalHook"]


def _fill_checkpoint(cfg: Config) -> None:
    for init in pretrained_starts(cfg):
        init.checkpoint = init.get("checkpoint") or cfg.get("pretrained") or ""
        if not init.checkpoint:
            raise DownstreamError(
                "no pretraining checkpoint is named. Name one: --cfg-options pretrained=FILE, or "
                "xmoco transfer FILE ...; the configs that end in _scratch need none."
            )
        if not isinstance(init.checkpoint, str):
            raise DownstreamError(
                f"init_cfg.checkpoint is a {type(init.checkpoint).__name__} and names no file."
            )
        if "://" not in init.checkpoint and not Path(init.checkpoint).expanduser().exists():
            raise DownstreamError(
                f"there is no pretraining checkpoint '{printable(init.checkpoint)}' (looked from "
                f"{Path.cwd()})."
            )
        check_checkpoint(init.checkpoint)


def _inits(part: ConfigDict) -> list[ConfigDict]:
    """The ``init_cfg`` of a part of a model, which may be a dict, a list of them, or nothing."""
    inits = part.get("init_cfg") or []
    return [inits] if isinstance(inits, dict) else [i for i in inits if isinstance(i, dict)]


def _reads(init: ConfigDict) -> bool:
    kind = init.get("type")
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    return name.split(".")[-1] in ("Pretrained", "PretrainedInit")


def _prepare_detection(cfg: Config, stages: dict[str, list[ConfigDict]]) -> list[Finding]:
    asked = class_names(cfg)
    if not asked and "class_names" in cfg:
        asked = trained_meta(cfg).get("classes", [])
    learnt: dict[str, list[str]] = {}  # stage: classes of its first annotation file
    with_masks = any("mask_head" in part for part in dicts(cfg.model))
    found: list[Finding] = []
    read: dict[tuple[Path, Path], coco.CocoAnnotations] = {}
    files: dict[tuple, str] = {}  # for which classes -> what the host reads
    voc: set[VocList] = set()
    for stage, datasets in stages.items():
        for data in datasets:
            path = Path(data.get("data_root") or "", data.get("ann_file") or "")
            if path.suffix != ".json":
                if (listed := voc_list(data, path)) and listed not in voc:
                    voc.add(listed)
                    smallest = (data.get("filter_cfg") or {}).get("bbox_min_size")
                    known = _classes_of(data)
                    found += survey_voc(listed, known, stage, smallest, reader_of(data))
                continue
            images = Path(data.get("data_root") or "", data.get("data_prefix", {}).get("img", ""))
            usual = images
            if new := (path, images) not in read:
                read[path, images] = coco.read_coco(path)
            annotations = read[path, images]
            root = Path(data.get("data_root") or images)
            images = coco.folder_of_images(annotations, usual, [root, root / "images"])
            if images != usual:
                data.data_prefix = {**data.get("data_prefix", {}), "img": str(images.absolute())}
            learnt.setdefault(stage, annotations.classes)
            if "class_names" in cfg:
                classes = asked or next(iter(learnt.values()))
                data.metainfo = dict(classes=tuple(classes))
            else:
                classes = _classes_of(data)
            coco.check_classes(annotations, classes)
            if not asked and "class_names" in cfg and set(annotations.classes) != set(classes):
                raise DownstreamError(
                    f"the class lists differ: {path} has {', '.join(annotations.classes)}, the "
                    f"training annotations have {', '.join(classes)}."
                )
            if new:
                coco.check_images(annotations, images)
                if with_masks:
                    coco.check_masks(annotations)
            key = (path, images, tuple(classes))
            if key not in files:
                found += survey(annotations, images, classes, stage, reader_of(data))
                file = write_mended(annotations, mended_folder(cfg))
                # The user's own file stays as the config names it.
                files[key] = data.ann_file if file == annotations.path else str(file)
            data.ann_file = files[key]
            set_num_classes(cfg, len(classes), fill="class_names" in cfg)
        _point_evaluators(cfg, stage, datasets)
    return found


def voc_list(data: ConfigDict, path: Path) -> VocList | None:
    """What a dataset of VOC's format reads; None of another one, or where nothing is there."""
    root = Path(data.get("data_root") or "")
    below = root / ((data.get("data_prefix") or {}).get("sub_data_root") or "")
    annotations = below / (data.get("ann_subdir") or "Annotations")
    if not path.is_file() or not annotations.is_dir():
        return None
    return VocList(path, annotations, below / (data.get("img_subdir") or "JPEGImages"))


def _classes_of(data: ConfigDict) -> list[str]:
    classes = (data.get("metainfo") or {}).get("classes")
    if classes is None:
        classes = host_dataset(data, "mmdet").METAINFO.get("classes")
    return [classes] if isinstance(classes, str) else list(classes or ())


def _point_evaluators(cfg: Config, stage: str, datasets: list[ConfigDict]) -> None:
    evaluators = cfg.get(f"{stage}_evaluator") or []
    if isinstance(evaluators, dict):
        evaluators = [evaluators]
    for evaluator in evaluators:
        if "ann_file" in evaluator and len(datasets) == 1:
            root = datasets[0].get("data_root") or ""
            evaluator.ann_file = str(Path(root, datasets[0].ann_file))
