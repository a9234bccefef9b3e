# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Groups of small pictures with their names, as one HTML file that needs nothing beside it."""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

HEAD = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px sans-serif; margin: 2em; }}
section {{ border-top: 1px solid #ccc; padding: .5em 0; }}
figure {{ display: inline-block; margin: .3em; width: 130px; vertical-align: top; }}
figcaption {{ font-size: 11px; overflow-wrap: anywhere; }}
</style>
<h1>{title}</h1>
"""


class Picture(NamedTuple):
    """A small picture.

    Attributes:
        jpeg: Its file's content; empty where there is none.
        caption: Printable.
    """

    jpeg: bytes
    caption: str


def sheet(title: str, groups: Iterable[tuple[str, Sequence[Picture]]]) -> str:
    """The page: a row for each group, with its caption. Texts are escaped."""
    parts = [HEAD.format(title=escape(title))]
    for caption, pictures in groups:
        figures = "".join(map(_figure, pictures))
        parts.append(f"<section><p>{escape(caption)}</p>{figures}</section>\n")
    return "".join([*parts, "</html>\n"])


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.jpeg).decode()
    image = f'<img alt="" src="data:image/jpeg;base64,{data}">' if picture.jpeg else ""
    return f"<figure>{image}<figcaption>{escape(picture.caption)}</figcaption></figure>"
