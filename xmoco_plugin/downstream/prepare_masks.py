# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fills in what a segmentor's config leaves to a folder of masks, and checks the folder."""

from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..findings import Finding
from ..untrusted import printable
from . import mask_folder as masks
from . import mask_survey as look
from .errors import DownstreamError
from .pixels import reader_of, survey_pixels
from .settings import class_names, dicts, mended_folder, set_num_classes, trained_meta


def prepare_masks(cfg: Config, stages: dict[str, list[ConfigDict]]) -> list[Finding]:
    """Sets classes and endings by the data, and checks pairs, sizes and labels.

    Args:
        cfg: Of a segmentor; changed in place.
        stages: Its datasets by stage.

    Returns:
        Rows of the table of what the data hold.

    Raises:
        DownstreamError: The data are not fit to start.
    """
    ignored = _ignored(cfg)
    asked = class_names(cfg)
    trained = {} if asked else trained_meta(cfg)
    known = asked or trained.get("classes")
    meta, rows = survey_masks(stages, known, ignored, mended_folder(cfg))
    meta |= trained
    for data in [data for datasets in stages.values() for data in datasets]:
        data.metainfo = {key: list(value) for key, value in meta.items()}
    set_num_classes(cfg, len(meta["classes"]), fill=True)
    judged = {e.get("ignore_index", 255) for e in _evaluators(cfg)} - {ignored}
    if judged:
        rows.append(
            Finding(
                "note",
                "labels",
                f"training ignores label {ignored}, the evaluator {min(judged)}: set "
                "model.decode_head.ignore_index and val_evaluator.ignore_index to the same",
            )
        )
    return rows


def survey_masks(
    stages: dict[str, list[ConfigDict]],
    names: list[str] | None = None,
    ignored: int = 255,
    lists: Path | None = None,
) -> tuple[dict, list[Finding]]:
    """Reads folders of images and masks.

    Args:
        stages: Settings of datasets by stage; endings and ``reduce_zero_label`` are filled in.
        names: Of the classes; none where the data name them.
        ignored: The label that is neither learnt nor judged.
        lists: Folder for lists of images where the host would take others, too.

    Returns:
        Classes, and palette where there is one; rows of the table.

    Raises:
        DownstreamError: The data are not fit to start.
    """
    meta = dict(classes=names) if names else None
    where: Path | None = None  # the folder whose file named the classes
    every = Labelled()
    for stage, datasets in stages.items():
        for data in datasets:
            root = Path(data.data_root)
            for key, value in masks.read_layout(root).items():
                if data.get(key, masks.LAYOUT[key]) == masks.LAYOUT[key]:
                    data[key] = value
            every.read(stage, data, lists)
            found = None if names else masks.read_classes(root)
            if found and meta and found["classes"] != meta["classes"]:
                raise DownstreamError(
                    f"the class lists differ: {root / masks.CLASSES_FILE} has "
                    f"{', '.join(found['classes'])}, {where} has {', '.join(meta['classes'])}. "
                    "A label is a number: both must give it to the same class."
                )
            if found and not meta:
                meta, where = found, root / masks.CLASSES_FILE
    labels = every.labels
    values = {value: file for value, file in labels.first.items() if value != ignored}
    meta = meta or dict(classes=[f"class {i}" for i in range(max(values, default=-1) + 1)])
    count = len(meta["classes"])
    if any(value >= count or value < 0 for value in values):
        value = max(values, key=abs)
        raise DownstreamError(
            f"the class lists differ: the mask {values[value]} has the value {value}, and there "
            f"are {count} classes ({', '.join(meta['classes'])}), numbered from 0."
        )
    if count < 2:
        raise DownstreamError(f"the masks have {count} classes: a segmentation needs at least 2.")
    return meta, every.rows(meta["classes"], ignored)


class Labelled:
    """Folders of images and masks, each read once.

    Attributes:
        labels: Of all of them.
    """

    def __init__(self) -> None:
        self.labels = look.Labels()
        self._listed: dict[tuple, str] = {}
        self._parts: dict[tuple, tuple[str, int, look.Labels, list[Finding]]] = {}

    def read(self, stage: str, data: ConfigDict, lists: Path | None = None) -> None:
        """Reads what a dataset's config names.

        Args:
            stage: Of the data.
            data: Gets a list of its images, in the folder `lists`, where the host would take those
                of hidden folders.

        Raises:
            DownstreamError: Pairs, sizes or masks that cannot be used.
        """
        root, prefix = Path(data.data_root), data.data_prefix
        folders = (root / prefix.img_path, root / prefix.seg_map_path)
        suffixes = (data.img_suffix, data.seg_map_suffix)
        reduce_zero = bool(data.get("reduce_zero_label"))
        key = (*folders, *suffixes, reduce_zero)
        if key in self._parts:
            if key in self._listed and not data.get("ann_file"):
                data.ann_file = self._listed[key]
            return
        files = masks.pairs(*folders, *suffixes)
        names = [str(file.relative_to(folders[1]))[: -len(suffixes[1])] for file in files]
        hidden = masks.in_hidden_folders(folders[0], suffixes[0])
        if hidden and lists and not data.get("ann_file"):
            data.ann_file = self._listed[key] = str(masks.write_list(names, lists))
        images = [folders[0] / (name + suffixes[0]) for name in names]
        look.check_sizes(images, files)
        labels = look.read_labels(files, reduce_zero)
        read = survey_pixels(images, stage, reader_of(data))
        left = [*read, *look.partnerless(*folders, *suffixes, stage)]
        if hidden:
            text = f"{len(hidden):,} images in hidden folders are left out"
            left.append(Finding("note", stage, text, tuple(map(printable, hidden))))
        self._parts[key] = (stage, len(files), labels, left)
        self.labels.add(labels)

    def rows(self, classes: list[str], ignored: int) -> list[Finding]:
        """Rows of the table."""
        found: list[Finding] = []
        for stage, count, labels, left in self._parts.values():
            found += [*look.survey(labels, classes, ignored, count, stage), *left]
        return found


def _ignored(cfg: Config) -> int:
    """The label that the heads do not learn."""
    heads = [part for part in dicts(cfg.model) if "num_classes" in part]
    return next((part.ignore_index for part in heads if "ignore_index" in part), 255)


def _evaluators(cfg: Config) -> list[ConfigDict]:
    found = cfg.get("val_evaluator") or []
    return [found] if isinstance(found, dict) else list(found)
