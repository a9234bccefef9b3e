# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What mmengine's LocalVisBackend logged, joined over the resumes of a run."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, TypeGuard

Points = list[tuple[float, float]]
TRAIN_ONLY = {"epoch", "iter", "lr"}  # the keys that tell a training line from a validation's
MOST = 10**12
NOT_A_CURVE = {"step", "epoch", "iter", "data_time", "time", "memory"}


def is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a number, NaN and infinite ones too."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_count(value: Any) -> TypeGuard[float]:
    """Whether it can be an epoch or a step: a number from 0 to a million million."""
    return is_number(value) and math.isfinite(value) and 0 <= value <= MOST


def merge_parts(parts: Iterable[Sequence[dict]]) -> tuple[dict[str, Points], dict[str, Points]]:
    """Curves of training and of validation over the parts of a run, oldest first.

    A part that begins again at an earlier step replaces what came after that step: a run resumed
    from epoch 5 does epoch 6 anew, and a run started afresh in an old folder does everything.

    Args:
        parts: for each start of the run its logged lines.

    Returns:
        Two dicts of (step, value) points by name, rising in step: of training, whose steps are
        iterations, and of validation, whose steps are epochs or iterations.
    """
    kinds: tuple[dict[int, dict], dict[int, dict]] = ({}, {})
    for part in parts:
        for training, lines in zip((True, False), kinds, strict=True):
            mine = [e for e in part if training == bool(TRAIN_ONLY & e.keys()) and _is_step(e)]
            if mine:
                first = min(e["step"] for e in mine)
                for step in [step for step in lines if step >= first]:
                    del lines[step]
            for entry in mine:
                lines.setdefault(entry["step"], {}).update(entry)
    train, metrics = map(_curves, kinds)
    return train, metrics


def _curves(lines: dict[int, dict]) -> dict[str, Points]:
    curves: dict[str, Points] = {}
    for step, entry in sorted(lines.items()):
        for name, value in entry.items():
            if name not in NOT_A_CURVE and is_number(value):
                curves.setdefault(name, []).append((float(step), float(value)))
    return curves


def _is_step(entry: dict) -> bool:
    step = entry.get("step")
    return isinstance(step, int) and is_count(step)
