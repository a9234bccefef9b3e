# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""No documented way without a row, and no row whose walker is not there."""

import argparse
import ast
import re
from functools import cache
from pathlib import Path

import pytest

from xmoco_plugin.cli import options
from xmoco_plugin.cli.options import embed, evaluate, export_backbone, runs, select_images
from xmoco_plugin.export import RESNETS
from xmoco_plugin.pretraining.backbones import VIT_SMALL, known_names
from xmoco_plugin.pretraining.ready import READY

from ..docs.pages import PAGES, ROOT, commands_of, name_of
from . import table

WALKERS = {
    *table.LAYOUTS.values(),
    *table.FORMS.values(),
    *table.CONFIGS.values(),
    *filter(None, table.COMMANDS.values()),
    *(walker for rows in table.OPTIONS.values() for walker in rows),
    *(table.MODEL, table.INIT, table.FAMILY, table.READY),
}


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """The longest spelling of each option of a parser and those below it."""
    found = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                found |= options_of(below)
        elif action.option_strings and not isinstance(action, argparse._HelpAction):
            found.add(max(action.option_strings, key=len))
    return found


@cache
def source(walker: str) -> tuple[str, set[str]]:
    """Text of a walker's file, and the tests that are in it."""
    text = (ROOT / walker.partition("::")[0]).read_text(encoding="utf-8")
    return text, {n.name for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)}


@pytest.mark.parametrize("walker", sorted(WALKERS))
def test_every_walker_is_there(walker):
    file, _, test = walker.partition("::")
    assert (ROOT / file).is_file()
    assert not test or test in source(walker)[1]


@pytest.mark.parametrize("command", sorted(options.COMMANDS))
def test_every_option_of_a_command_has_a_row_whose_walker_names_it(command):
    rows = table.OPTIONS.get(command)
    assert rows is not None, f"tests/matrix/table.py has no row for the command {command}"
    walked = {option for names in rows.values() for option in names}
    known = options_of(options.build(options.COMMANDS[command], command)) - table.INTERNAL
    assert known - walked == set(), "options without a row"
    assert walked - known == set(), "rows of options that there are not"
    unnamed = [
        (option, walker)
        for walker, names in rows.items()
        for option in names
        if option not in source(walker)[0] and option[2:].replace("-", "_") not in source(walker)[0]
    ]
    assert unnamed == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_of_a_page_has_a_row(page):
    unknown = set()
    for words in commands_of(page):
        if words[0] == "xmoco":
            word = words[1] if len(words) > 1 else "NAME"
            if word[0] != "-" and word != "NAME" and word not in table.OPTIONS:
                unknown.add(word)
        elif words[0].startswith("tools/"):
            name = Path(words[0])
            shell = name.suffix == ".sh"
            known = table.COMMANDS if shell else {*options.COMMANDS.values(), "NAME"}
            if (name.name if shell else name.stem) not in known:
                unknown.add(words[0])
    assert unknown == set()


def test_every_config_has_a_row():
    files = [file.relative_to(ROOT / "configs") for file in (ROOT / "configs").rglob("*.py")]
    folders = {str(file.parent).replace(".", "") for file in files} - {"_base_"}
    assert folders == set(table.CONFIGS)


def test_every_form_that_a_command_writes_and_every_layout_that_it_reads_has_a_row():
    forms = {f"export --to {target}" for target in export_backbone.TARGETS}
    forms |= {f"embed --out {ending}" for ending in embed.ENDINGS}
    forms |= {f"select --out {ending}" for ending in select_images.ENDINGS}
    forms |= {f"runs --format {kind}" for kind in runs.FORMATS}
    forms |= {f"evaluate --protocol {name}" for name in evaluate.PROTOCOLS}
    assert forms == set(table.FORMS)
    assert set(export_backbone.LAYOUTS) == set(table.LAYOUTS)


def test_every_model_that_a_page_names_is_of_a_kind_that_has_a_row():
    # Of ResNet, resnet18 and resnet50 are the short names.
    kinds = {"ResNet", *(model.partition(":")[0] for model in table.MODELS)}
    named = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named |= set(re.findall(r"`((?:mm\w+\.)?[A-Z]\w+:\w+)`", text))
        named |= set(re.findall(r"--model ([\w.:]+[\w])", text))
    kinds |= {row.kind for row in READY}
    scoped = {name.partition(":")[0] for name in named if re.match(r"mm(det|seg)\.", name)}
    assert scoped - kinds == set()
    assert len(scoped) >= 3
    classes = {name for name in known_names() if name not in RESNETS}
    models = {name.partition(":")[0] for name in named} & {*classes, *RESNETS}
    assert models - kinds - set(RESNETS) == set()
    assert kinds >= {VIT_SMALL, "resnet18", "resnet50"}  # BasicBlocks and Bottlenecks


def test_every_heavy_walk_says_its_minutes():
    walks = source(table.MODEL)[1]
    heavy = {name for name in walks if name.startswith("test_")}
    assert heavy == set(table.MINUTES)
