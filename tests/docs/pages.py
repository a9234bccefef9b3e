# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The Markdown pages, taken apart: links, headings, blocks of code, commands."""

import re
import shlex
from collections import Counter
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *(page for page in DOCS.rglob("*.md") if "_build" not in page.parts),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    ]
)
FENCE = re.compile(r"^(`{3,})(\S*)[^\n]*\n(.*?)^\1\s*$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")
CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def name_of(page: Path) -> str:
    """The page's path from the root, for the name of a test."""
    return str(page.relative_to(ROOT))


@cache
def text_of(page: Path) -> str:
    """The whole page."""
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", text_of(page))


def blocks_of(page: Path, *languages: str) -> list[str]:
    """Its fenced blocks in one of the languages."""
    return [code for _, language, code in FENCE.findall(text_of(page)) if language in languages]


def links_of(page: Path) -> list[str]:
    """Where its links and pictures lead, but for those that leave the repository."""
    prose = CODE.sub("", prose_of(page))
    return [link for link in LINK.findall(prose) if not re.match(r"\w+:", link)]


@cache
def anchors_of(page: Path) -> set[str]:
    """What a link can name in the page: its headings, by the names that GitHub gives them."""
    found: Counter[str] = Counter()
    anchors = set()
    for heading in re.findall(r"^#+ +(.*?)\s*$", prose_of(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        anchors.add(f"{slug}-{found[slug]}" if found[slug] else slug)
        found[slug] += 1
    return anchors


def commands_of(page: Path) -> list[list[str]]:
    """The words of each command that starts one of ours, from blocks of code and inside lines."""
    lines = [
        line
        for block in blocks_of(page, "bash", "")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    lines += [code.replace("\\|", "|") for code in CODE.findall(prose_of(page))]
    found = []
    for line in lines:
        for part in re.split(r"&&|;|\|\|", line):
            words = _words(part)
            start = next((i for i in range(len(words)) if _starts_ours(words, i)), None)
            if start is not None:
                found.append(words[start:])
    return found


def _words(line: str) -> list[str]:
    """Words as the shell has them; the brackets of what may be left out are no part of them."""
    line = re.sub(r"\[(-[^\]]*?)\]", r"\1", line)
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quotation that is not closed: no command
        return []


def _starts_ours(words: list[str], i: int) -> bool:
    if words[i] == "xmoco":  # further behind it names a folder
        return i == 0 or words[i - 1] == "-m"
    return bool(re.fullmatch(r"(tools|benchmarks)/\w+\.(py|sh)", words[i]))
