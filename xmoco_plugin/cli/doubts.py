# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Figures that cannot be a result: what they say of the run, in a sentence beside them."""

import math
from collections.abc import Iterable, Mapping, Sequence

from mmengine.config import Config

from xmoco_plugin.downstream.settings import dicts

LEAST = 1.0  # percent; ours: below it no object is found, or no class is told from another
MARK = "*"  # behind such a figure in a table
ROUNDING = 0.0051  # percent: half of the last decimal of mmseg's figures


def of_fine_tuning(task: str, columns: Mapping[str, float], nothing: bool, cfg: Config) -> str:
    """Why the figures of a fine-tuning are none; empty where they may be.

    Args:
        task: 'det' or 'seg'.
        columns: Figures in percent by their name in the table.
        nothing: Whether the test found no box at all, of which mmdet gives no figures.
        cfg: Of the run.
    """
    if not all(map(math.isfinite, columns.values())):
        what = "a figure is no number: no pixel or box was judged"
    elif nothing:
        what = "no box above the score threshold on any test image"
    elif task == "det":
        name = "AP50" if "AP50" in columns else "AP"
        if columns.get(name, LEAST) >= LEAST:
            return ""
        what = f"{name} is below {LEAST:g}: hardly a box lies on an object"
    elif is_constant(columns):
        what = "one class for every pixel, as a constant answer has it"
    elif columns.get("mIoU", LEAST) < LEAST:
        what = f"mIoU is below {LEAST:g}: hardly a pixel has its class"
    elif columns.get("mAcc", 100.0) <= chance(cfg):
        what = f"mAcc is no more than a constant answer has, {chance(cfg):.2f}"
    else:
        return ""
    return f"{what}, after {_length(cfg)}. No result: train longer, or look at data.txt"


def chance(cfg: Config) -> float:
    """mAcc in percent of a segmentor that gives one class to every pixel; 0 where none is known.

    At least: it is higher where the test images lack classes of the config.
    """
    heads = [part.num_classes for part in dicts(cfg.get("model")) if part.get("num_classes")]
    return round(100 / max(heads), 2) if heads and max(heads) > 1 else 0.0


def of_runs(
    task: str, columns: Mapping[str, Sequence[float]], tests: Sequence[Mapping], cfg: Config
) -> list[str]:
    """Why the figures of each of several runs are none; empty texts where they may be.

    Args:
        task: 'det' or 'seg'.
        columns: Figures of the runs, in percent, by their name in the table.
        tests: What the runs' tests have written; empty where nothing was found.
        cfg: Of the runs.
    """
    return [
        of_fine_tuning(task, {name: row[i] for name, row in columns.items()}, not test, cfg)
        for i, test in enumerate(tests)
    ]


def is_constant(columns: Mapping[str, float]) -> bool:
    """Whether a segmentor has given one class to every pixel, by its figures in percent.

    Then the class has all of its pixels, the k - 1 others none: mAcc is 1 / k, mIoU is aAcc / k.
    k is that of the classes which the test images show; mmseg rounds its figures to 0.01.
    """
    mean, over_all, every = (columns.get(name, 0.0) for name in ("mIoU", "mAcc", "aAcc"))
    if not over_all > 0:
        return False
    classes = round(100 / over_all)
    return (
        classes >= 2
        and abs(over_all - 100 / classes) <= ROUNDING
        and abs(mean - every / classes) < 0.05
    )


def of_accuracy(percent: float, largest: float) -> str:
    """Why an accuracy is none; empty where it may be.

    Args:
        percent: Of the test images that are right.
        largest: Percent of the test images that are of the largest class.
    """
    # Both are rounded, each in its own order; one image of less than a million is more.
    if percent > largest + 1e-4:
        return ""
    return (
        f"no more than a constant answer has, {largest:.2f} %: the features do not tell classes "
        "apart, or the labels do not belong to the images"
    )


def marked(text: str, doubtful: bool) -> str:
    """A figure as a table shows it."""
    return f"{text} {MARK}" if doubtful else text


def notes(doubts: Iterable[tuple[str, str]]) -> str:
    """Lines below a table, for each run that has a doubt: its name and why; empty for none.

    Args:
        doubts: Name and reason of runs; reasons may be empty.
    """
    named: dict[str, list[str]] = {}
    for name, why in doubts:
        if why:
            named.setdefault(why, []).append(name)
    lines = [f"{MARK} {', '.join(names)}: {why}." for why, names in named.items()]
    return "\n\n" + "\n".join(lines) if lines else ""


def _length(cfg: Config) -> str:
    training = cfg.get("train_cfg") or {}
    iters = training.get("max_iters")
    return f"{iters:,} iterations" if iters else f"{training.get('max_epochs')} epochs"
