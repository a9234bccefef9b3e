# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a look at data found: rows of one short table, for every stage; whole in a file."""

from collections.abc import Iterable
from typing import NamedTuple

SHOWN = 3  # names that a row shows; the file has all


class Finding(NamedTuple):
    """One row.

    Attributes:
        state: 'ok', 'note' for what one should know, 'MEND' for what training cannot start with.
        part: Of the data: 'images', 'train', 'labels' ...
        text: A sentence or a figure.
        names: Of the files or classes that it is about, printable.
    """

    state: str
    part: str
    text: str
    names: tuple[str, ...] = ()


def some(names: Iterable[object], most: int = SHOWN) -> str:
    """The first names: 'a, b, c and 4 more'."""
    found = [str(name) for name in names]
    shown = ", ".join(found[:most])
    return shown if len(found) <= most else f"{shown} and {len(found) - most:,} more"


def table(findings: Iterable[Finding], most: int | None = SHOWN) -> str:
    """A line for each finding.

    Args:
        findings: Rows.
        most: Names that a line shows; None for all, one below the other.
    """
    lines = []
    for state, part, text, names in findings:
        line = f"{state:<5} {part:<8} {text}"
        if names and most is not None:
            line += f": {some(names, most)}"
        lines.append(line)
        if most is None:
            lines += [f"{'':<15}{name}" for name in names]
    return "\n".join(lines)
