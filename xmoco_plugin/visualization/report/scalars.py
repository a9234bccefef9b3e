# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What mmengine's LocalVisBackend logged, joined over the resumes of a run."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ...json_lines import parse_json_lines

Points = list[tuple[float, float]]
TRAIN_ONLY = {"epoch", "iter", "lr"}  # the keys that tell a training line from a validation's
NOT_A_CURVE = {"step", "epoch", "iter", "data_time", "time", "memory"}


def read_json_lines(path: Path) -> tuple[list[dict], int]:
    """What ``parse_json_lines`` finds in a file; a missing one has no lines."""
    try:
        return parse_json_lines(path.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return [], 0


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
            if name not in NOT_A_CURVE and isinstance(value, int | float):
                curves.setdefault(name, []).append((float(step), float(value)))
    return curves


def _is_step(entry: dict) -> bool:
    return isinstance(entry.get("step"), int)
