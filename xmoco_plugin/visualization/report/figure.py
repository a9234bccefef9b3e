# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup


@dataclass
class Table:
    """Words and numbers in rows; the first cell of a row names it."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass
class Figure:
    """One picture of the report with what is said of it.

    Attributes:
        name: unique in the page, of letters, digits and '-'.
        title: above it.
        body: SVG or HTML, safe.
        caption: below it, a sentence or two.
        table: the numbers behind it, folded up.
        wide: whether it takes a row of its own.
    """

    name: str
    title: str
    body: Markup
    caption: str = ""
    table: Table | None = None
    wide: bool = False


@dataclass
class Section:
    """A heading, what to make of what follows, and figures side by side."""

    name: str
    title: str
    intro: str = ""
    figures: list[Figure] = field(default_factory=list)
