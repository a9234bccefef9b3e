# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The checkpoints of a run, the start first: what each is worth, and which was handed over."""

from collections.abc import Mapping, Sequence
from typing import Any

from ...untrusted import printable
from .figure import Table
from .scalars import is_number

WEIGHTS = "weights.jsonl"
HEADER = [
    *("epoch", "kNN", "since the start", "effective rank", "alignment", "neighbours kept"),
    *("verdict", "handed over"),
]


def checkpoints_table(lines: Sequence[Mapping[str, Any]]) -> Table:
    """A row for each line of ``weights.jsonl``; what a line lacks is left empty.

    The last that was handed over is what ``backbone.pth`` holds.
    """
    held = last_handed_over(lines)
    return Table(HEADER, [_row(line, line is held) for line in lines])


def last_handed_over(lines: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The line of the weights that ``backbone.pth`` holds; None where there are none."""
    return next((line for line in reversed(lines) if line.get("handed_over") is True), None)


def _row(line: Mapping[str, Any], held: bool) -> list[str]:
    values = line["values"] if isinstance(line.get("values"), dict) else {}
    began = line.get("epoch") == 0
    moved = _text(line, "points", "+.1f")
    verdict = line.get("verdict")
    return [
        _text(line, "epoch", "g"),
        _text(line, "knn", ".1f"),
        f"{moved} ± {_text(line, 'error', '.1f')}" if moved and not began else "",
        _text(values, "backbone_rank", ".1f"),
        _text(values, "backbone_alignment", ".3f"),
        _text(values, "neighbours_kept", ".0%"),
        "the start" if began else printable(verdict) if isinstance(verdict, str) else "",
        "yes" if held else "",
    ]


def _text(values: Mapping[str, Any], name: str, form: str) -> str:
    value = values.get(name)
    return format(value, form) if is_number(value) else ""
