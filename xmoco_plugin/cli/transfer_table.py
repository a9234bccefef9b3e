# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The figures of fine-tunings as rows of a table, in percent."""

import math
import re
import statistics
from collections.abc import Mapping, Sequence
from typing import TypeVar

from mmengine.config import Config

from xmoco_plugin.cli import doubts

Key = TypeVar("Key")
# Columns of the table, and the names that the hosts' metrics give them (COCO, VOC, LVIS; mmseg).
COLUMNS = {
    "det": {
        "AP": r"(coco/bbox_mAP|pascal_voc/mAP|lvis/bbox_AP)",
        "AP50": r"(coco/bbox_mAP_50|pascal_voc/AP50|lvis/bbox_AP50)",
        "AP75": r"(coco/bbox_mAP_75|pascal_voc/AP75|lvis/bbox_AP75)",
        "mask AP": r"(coco/segm_mAP|lvis/segm_AP)",
        "mask AP50": r"(coco/segm_mAP_50|lvis/segm_AP50)",
        "mask AP75": r"(coco/segm_mAP_75|lvis/segm_AP75)",
    },
    "seg": {"mIoU": r"mIoU", "mAcc": r"mAcc", "aAcc": r"aAcc"},
}
NOTHING_FOUND = {"coco/bbox_mAP", "coco/bbox_mAP_50", "coco/bbox_mAP_75"}


def table(
    task: str,
    label: str,
    digest: str,
    config: str,
    runs: dict[int, dict],
    cfg: Config | None = None,
) -> str:
    """Returns the rows of the table as Markdown, in percent; several seeds end in mean and std.

    Figures that cannot be a result are marked, and below the table is why.
    """
    columns = columns_of(task, list(with_zeros(runs).values()))
    lines = [
        f"| start | sha256 | config | seed | {' | '.join(columns)} |",
        "| --- " * (4 + len(columns)) + "|",
    ]
    whys = doubts.of_runs(task, columns, list(runs.values()), cfg or Config())
    for row, seed in enumerate(runs):
        doubtful = bool(whys[row])
        cells = [doubts.marked(f"{values[row]:.2f}", doubtful) for values in columns.values()]
        lines.append(f"| {label} | {digest} | {config} | {seed} | {' | '.join(cells)} |")
    if len(runs) > 1:
        cells = [doubts.marked(spread(values), any(whys)) for values in columns.values()]
        name = f"mean ± std of {len(runs)}"
        lines.append(f"| {label} | {digest} | {config} | {name} | {' | '.join(cells)} |")
    told = zip((f"seed {seed}" for seed in runs), whys, strict=True)
    return "\n".join(lines) + doubts.notes(told)


def with_zeros(runs: Mapping[Key, dict]) -> dict[Key, dict]:
    """Returns the metrics of runs; a detector that finds nothing has none in mmdet, its AP is 0."""
    names = set().union(*runs.values()) or NOTHING_FOUND
    return {key: metrics or dict.fromkeys(names, 0.0) for key, metrics in runs.items()}


def columns_of(task: str, runs: Sequence[dict]) -> dict[str, list[float]]:
    """Returns the values of all runs, in percent, for each column that every run has."""
    columns: dict[str, list[float]] = {}
    for title, pattern in COLUMNS[task].items():
        values = [_percent(task, pattern, metrics) for metrics in runs]
        known = [value for value in values if value is not None]
        if known and len(known) == len(values):
            columns[title] = known
    return columns


def deviation_of(values: Sequence[float]) -> float:
    """Returns the standard deviation of a sample of two or more; nan where a value is no number."""
    return statistics.stdev(values) if all(map(math.isfinite, values)) else math.nan


def spread(values: Sequence[float]) -> str:
    """Returns the mean and, of several values, their standard deviation (of the sample)."""
    deviation = f" ± {deviation_of(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def _percent(task: str, pattern: str, metrics: dict) -> float | None:
    for name, value in metrics.items():
        if re.fullmatch(pattern, name):
            return value * (100 if task == "det" else 1)
    return None
