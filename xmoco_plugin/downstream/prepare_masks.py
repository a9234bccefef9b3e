# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fills in what a segmentor's config leaves to a folder of masks, and checks the folder."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ..findings import Finding
from ..untrusted import printable
from . import mask_folder as masks
from . import mask_survey as look
from .errors import DownstreamError
from .pixels import reader_of, spread, survey_pixels
from .settings import (
    class_names,
    dicts,
    mended_folder,
    set_num_classes,
    trained_meta,
)

IGNORED = 255  # by the hosts' heads and evaluators, where they are not told another label


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
    ignored = ignored_label(cfg)
    asked = class_names(cfg)
    trained = {} if asked else trained_meta(cfg)
    known = asked or trained.get("classes")
    meta, rows = survey_masks(stages, known, ignored, mended_folder(cfg))
    meta |= trained
    for data in [data for datasets in stages.values() for data in datasets]:
        data.metainfo = {key: list(value) for key, value in meta.items()}
    set_num_classes(cfg, len(meta["classes"]), fill=True)
    rows += judged_otherwise(cfg)
    return rows


def survey_masks(
    stages: dict[str, list[ConfigDict]],
    names: list[str] | None = None,
    ignored: int = IGNORED,
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
    check_values(labels, list(meta["classes"]), ignored)
    if count < 2:
        raise DownstreamError(f"the masks have {count} classes: a segmentation needs at least 2.")
    return meta, every.rows(meta["classes"], ignored)


def check_values(labels: look.Labels, classes: list[str], *ignored: int) -> None:
    """Checks that the masks have labels of the classes, and such as are passed over, only.

    Raises:
        DownstreamError: With the value that is none, and a mask that has it.
    """
    values = {value: file for value, file in labels.first.items() if value not in ignored}
    if any(value >= len(classes) or value < 0 for value in values):
        value = max(values, key=abs)
        raise DownstreamError(
            f"the class lists differ: the mask {values[value]} has the value {value}, and there "
            f"are {len(classes)} classes ({', '.join(classes)}), numbered from 0."
        )


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
        pairs = masks.pairs(*folders, *suffixes)
        hidden = masks.in_hidden_folders(folders[0], suffixes[0])
        odd = any(not pair.image.name.endswith(suffixes[0]) for pair in pairs)
        if (hidden or odd) and lists and not data.get("ann_file"):
            names = [pair.name for pair in pairs]
            data.ann_file = self._listed[key] = str(masks.write_list(names, lists))
        left = [*look.partnerless(*folders, pairs, suffixes[0], stage)]
        if hidden:
            text = f"{len(hidden):,} images in hidden folders are left out"
            left.append(Finding("note", stage, text, tuple(map(printable, hidden))))
        self.add(key, stage, pairs, reduce_zero, reader_of(data), left)

    def add(
        self,
        key: tuple,
        stage: str,
        pairs: Sequence[masks.Pair],
        reduce_zero: bool,
        reader: str,
        left: Sequence[Finding] = (),
        most: int | None = None,
        numbers: Mapping[int, int] | None = None,
    ) -> None:
        """Reads pairs.

        Args:
            key: What tells them from others.
            stage: Of the data.
            pairs: To be read.
            reduce_zero: As mmseg's ``reduce_zero_label``.
            reader: Of :func:`~.pixels.reader_of`.
            left: Rows that are known already.
            most: Pairs that are opened, spread over all; None for all.
            numbers: As mmseg's ``label_map``.

        Raises:
            DownstreamError: Sizes or masks that cannot be used.
        """
        looked = pairs if most is None else spread(pairs, most)
        images, files = [pair.image for pair in looked], [pair.mask for pair in looked]
        look.check_sizes(images, files)
        labels = look.read_labels(files, reduce_zero, numbers)
        rows = [*survey_pixels(images, stage, reader), *left]
        if len(looked) < len(pairs):
            rows.append(Finding("note", stage, f"{len(looked):,} of the pairs were opened"))
        self._parts[key] = (stage, len(pairs), labels, rows)
        self.labels.add(labels)

    def rows(self, classes: list[str], ignored: int) -> list[Finding]:
        """Rows of the table."""
        found: list[Finding] = []
        for stage, count, labels, left in self._parts.values():
            found += [*look.survey(labels, classes, ignored, count, stage), *left]
        return found


def ignored_label(cfg: Config) -> int:
    """The label that the heads do not learn; mmseg reads no ``ignore_index`` of a dataset."""
    heads = [part for part in dicts(cfg.get("model")) if "num_classes" in part]
    return next((part.ignore_index for part in heads if "ignore_index" in part), IGNORED)


def judged_labels(cfg: Config) -> set[int]:
    """The labels that the evaluators of the validation pass over."""
    found = cfg.get("val_evaluator") or []
    evaluators = [found] if isinstance(found, dict) else list(found)
    return {evaluator.get("ignore_index", IGNORED) for evaluator in evaluators}


def judged_otherwise(cfg: Config) -> Iterator[Finding]:
    """A row, where training and evaluators pass over other labels."""
    if judged := judged_labels(cfg) - {ignored := ignored_label(cfg)}:
        yield Finding(
            "note",
            "labels",
            f"training ignores label {ignored}, the evaluator {min(judged)}: set "
            "model.decode_head.ignore_index and val_evaluator.ignore_index to the same",
        )
