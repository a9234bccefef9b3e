# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""docs/own_data.md, taken apart."""

import re

from ..tool_modules import TOOLS

HOME = "/home/me"  # the page's name for the folder that a command is run in


def section(title: str) -> str:
    """What stands under a heading of the page."""
    page = (TOOLS.parent / "docs" / "own_data.md").read_text()
    [found] = re.findall(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.M)
    return found


def table(title: str) -> list[list[str]]:
    """The rows of a section's table, its head left out."""
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def block(title: str) -> list[str]:
    """The lines of a section's one fenced block."""
    [found] = re.findall(r"^```\w*\n(.*?)^```", section(title), re.DOTALL | re.M)
    return found.splitlines()
