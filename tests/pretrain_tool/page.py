# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What docs/ says of pretraining on own images, taken apart."""

import re

from ..tool_modules import TOOLS

HOME = "/home/me"  # the pages' name for the folder that a command is run in
PAGES = ("own_images.md", "troubleshooting.md")


def section(title: str) -> str:
    """What stands under a heading that one of the pages has."""
    heading = rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)"
    pages = [(TOOLS.parent / "docs" / name).read_text() for name in PAGES]
    [found] = [text for page in pages for text in re.findall(heading, page, re.DOTALL | re.M)]
    return found


def table(title: str) -> list[list[str]]:
    """The rows of a section's table, its head left out."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def block(title: str) -> list[str]:
    """The lines of a section's one fenced block."""
    [found] = re.findall(r"^```\w*\n(.*?)^```", section(title), re.DOTALL | re.M)
    return found.splitlines()
