# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Looks at pairs of images and masks of sets that bring their classes: VOC, Cityscapes, ADE20K."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..findings import Finding
from . import mask_folder as masks
from . import mask_survey as look
from .errors import DownstreamError
from .pixels import CHECKED, reader_of
from .prepare_masks import (
    IGNORED,
    Labelled,
    check_values,
    ignored_label,
    judged_labels,
    judged_otherwise,
)
from .settings import host_classes, host_dataset
from .voc_survey import in_another_case

# Pairs of a set of the hosts that are opened (ours): they are large, and seldom wrong.
MOST = 1000


def survey_host_masks(
    stages: dict[str, list[ConfigDict]], cfg: Config | None = None
) -> list[Finding]:
    """Looks at the data of a segmentor whose datasets bring their classes.

    Args:
        stages: Its datasets by stage; those that read no folders of images and masks are passed
            over, and so is what is not there, which the host names.
        cfg: Of the segmentor, for the labels that its heads and evaluators pass over.

    Returns:
        Rows of the table.

    Raises:
        DownstreamError: The data are not fit to start.
    """
    cfg = cfg or Config()
    ignored, judged = ignored_label(cfg), judged_labels(cfg)
    rows: list[Finding] = []
    done: set[tuple] = set()
    for stage, datasets in stages.items():
        for data in datasets:
            prefix = data.get("data_prefix") or {}
            root, kind = Path(data.get("data_root") or ""), host_dataset(data, "mmseg")
            folders = (
                root / (prefix.get("img_path") or ""),
                root / (prefix.get("seg_map_path") or ""),
            )
            there = "seg_map_path" in prefix and all(folder.is_dir() for folder in folders)
            if kind is None or not there:
                continue
            settings = masks.layout_of(data, kind)
            endings = settings["img_suffix"], settings["seg_map_suffix"]
            zero = settings["reduce_zero_label"]
            names, numbers = host_classes(kind, data.get("metainfo"))
            key = (*folders, data.get("ann_file"), zero, *names)
            if key in done:
                continue
            done.add(key)
            left: list[Finding] = []
            if data.get("ann_file"):
                pairs = masks.listed_pairs(root / data.ann_file, *folders, *endings)
                left += in_another_case((pair.image for pair in pairs), endings[0], stage)
            else:
                pairs = masks.pairs(*folders, *endings)
                left += look.partnerless(*folders, pairs, endings[0], stage)
            # No loss is made of what is only judged: what either passes over may be there.
            passed = (ignored, *(judged if stage != "train" else ()))
            rows += survey_pairs(pairs, names, stage, zero, reader_of(data), left, passed, numbers)
    return [*rows, *judged_otherwise(cfg)] if rows else []


def survey_pairs(
    pairs: Sequence[masks.Pair],
    classes: list[str],
    stage: str,
    reduce_zero: bool = False,
    reader: str = CHECKED,
    left: Sequence[Finding] = (),
    ignored: Sequence[int] = (IGNORED,),
    numbers: Mapping[int, int] | None = None,
) -> list[Finding]:
    """Looks at pairs of a set that brings its classes; other arguments are those of ``add``.

    Args:
        ignored: Labels that are passed over; the first is the one that is counted.
        numbers: As mmseg's ``label_map``.

    Raises:
        DownstreamError: Sizes, masks or labels that cannot be used.
    """
    part = Labelled()
    part.add((stage,), stage, pairs, reduce_zero, reader, left, MOST, numbers)
    for label in set((numbers or {}).values()) - {*range(len(classes)), *ignored}:
        if label in part.labels.first:
            raise DownstreamError(
                f"the mask {part.labels.first[label]} shows classes that metainfo leaves out: "
                f"mmseg gives them the label {label}, and the head ignores {ignored[0]}. Set "
                f"model.decode_head.ignore_index to {label}."
            )
    check_values(part.labels, classes, *ignored)
    return part.rows(classes, ignored[0])
