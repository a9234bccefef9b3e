# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a page says is there: links, files, configs, commands and their options."""

import ast
import re
import sys
from pathlib import Path

import pytest

from .pages import (
    CODE,
    DOCS,
    PAGES,
    ROOT,
    anchors_of,
    blocks_of,
    commands_of,
    links_of,
    name_of,
    prose_of,
    text_of,
)

sys.path.insert(0, str(DOCS / "_ext"))
import parsers

EACH = pytest.mark.parametrize("page", PAGES, ids=name_of)
USERS = [page for page in PAGES if page.parent == DOCS] + [ROOT / "README.md"]
# What a shell script hands its further options to.
SCRIPTS = {
    "dist_train": "train",
    "slurm_train": "train",
    "dist_test": "test",
    "transfer": "transfer",
}
# A word that starts like this names a file of the checkout; what a run or `make` writes does not.
FILES = re.compile(
    r"(?<![\w./-])(?:docs|tests|tools|configs|requirements|xmoco_plugin|benchmarks)"
    r"/[\w./-]+\.(?:py|sh|md|txt)"
)
# From here, the rooms.
ROOMS = re.compile(
    r"(?<![\w./-])(?:losses|heads|momentum|algorithms|data|views|evaluation|export|hooks|downstream)/\w+\.py"
)


def lies_at(name: str) -> bool:
    if Path(name).stem.isupper():  # tools/NAME.py
        return True
    return any((folder / name).exists() for folder in (ROOT, ROOT / "xmoco_plugin", ROOT / "tools"))


@EACH
def test_every_link_leads_to_a_file_and_a_heading_that_are_there(page):
    wrong = []
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            wrong.append(link)
    assert wrong == []


@EACH
def test_every_python_block_compiles(page):
    for block in blocks_of(page, "python"):
        ast.parse(block)


@EACH
def test_every_file_that_is_named_is_there(page):
    named = {name for code in CODE.findall(text_of(page)) for name in FILES.findall(code)}
    named |= {name for code in CODE.findall(text_of(page)) for name in ROOMS.findall(code)}
    named |= {word for line in commands_of(page) for word in line if FILES.fullmatch(word)}
    assert sorted(name for name in named if not lies_at(name)) == []


@EACH
def test_every_config_that_is_inherited_is_there(page):
    named = re.findall(r"xmoco_plugin::([\w./-]+\.py)", text_of(page))
    assert [name for name in named if not (ROOT / "configs" / name).is_file()] == []


@pytest.mark.parametrize("name", ["detector", "segmentor"])
def test_every_config_of_a_table_is_there(name):
    rows = re.findall(
        r"^\| (`(?:detection|segmentation)/.*?) \|", text_of(DOCS / f"{name}.md"), re.M
    )
    named = [n for row in rows for n in CODE.findall(row)]
    assert len(named) >= 4
    for brace in [n for n in named if "{" in n]:
        head, choices, tail = re.match(r"(.*)\{(.*)\}(.*)", brace).groups()
        named.remove(brace)
        named += [head + choice + tail for choice in choices.split(",")]
    assert [n for n in named if not (ROOT / "configs" / f"{n}.py").is_file()] == []


def module_of(words: list[str]) -> str | None:
    """The module whose parser reads the words of a command; None where a script has none."""
    if words[0] == "xmoco":
        return parsers.COMMANDS.get(words[1], words[1]) if len(words) > 1 else None
    name = Path(words[0]).stem
    return SCRIPTS.get(name) if words[0].endswith(".sh") else name


@EACH
def test_every_command_and_option_that_is_named_exists(page):
    wrong = []
    for words in commands_of(page):
        if words[0] == "xmoco" and (len(words) < 2 or words[1] == "NAME" or words[1][0] == "-"):
            continue
        if words[0] == "xmoco" and words[1] not in parsers.COMMANDS:
            wrong.append(words[:2])
            continue
        asked = {re.split("[=|]", word)[0] for word in words if re.match("--[a-z]", word)}
        if words[0].startswith("benchmarks/") or not asked:
            continue
        module = module_of(words)
        if module and (extra := asked - parsers.options_of(parsers.parser_of(module))):
            wrong.append((words[:2], sorted(extra)))
    assert wrong == []


def test_an_option_that_a_command_lacks_would_be_found():
    options = parsers.options_of(parsers.parser_of("pretrain"))
    assert {"--data", "--out", "--queue-len"} <= options
    assert "--modle" not in options
    assert {"--raw", "--verify"} <= parsers.options_of(parsers.parser_of("pack_images"))


def test_the_reference_names_every_command_and_tool():
    page = text_of(DOCS / "reference" / "commands.md")
    tools = [f.name for f in (ROOT / "tools").glob("*.py") if "__main__" in f.read_text()]
    assert [name for name in tools if f"tools/{name}" not in page] == []
    assert [name for name in parsers.COMMANDS if f"`xmoco {name}`" not in page] == []


@pytest.mark.parametrize("page", USERS, ids=name_of)
def test_a_page_for_users_tells_no_commits_loads_or_machines(page):
    prose = prose_of(page)
    assert re.findall(r"`[0-9a-f]{7,40}`|\bcommits? `|\bload (?:of )?\d", prose) == []
    assert re.findall(r"AMD EPYC|Intel Xeon", prose) == []


def test_the_readme_is_read_at_one_sitting():
    assert len(text_of(ROOT / "README.md").splitlines()) <= 120


def test_every_page_that_code_names_is_there():
    wrong = []
    for folder in ("xmoco_plugin", "configs", "tests", "benchmarks"):
        for file in (ROOT / folder).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            named = re.findall(r"docs/[\w/]+\.(?:md|svg)", text)
            wrong += [(file.name, name) for name in named if not (ROOT / name).is_file()]
    assert wrong == []
