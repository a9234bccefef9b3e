# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""No option without a row: one that takes a file is walked, and every other is named as such."""

import argparse

import pytest

from ..tool_modules import TOOLS, import_tool
from . import ways

# The test tool has the name of a module of the standard library.
TOOLS_WITH_OPTIONS = sorted(
    file.stem for file in TOOLS.glob("*.py") if "parse_args" in file.read_text() or "cli" in file.read_text()
)


class _Found(Exception):
    pass


def parser_of(name: str, monkeypatch) -> argparse.ArgumentParser:
    """What a tool parses its command line with."""
    found: list[argparse.ArgumentParser] = []

    def stop(parser, *_, **__):
        found.append(parser)
        raise _Found

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", stop)
    with pytest.raises(_Found):
        import_tool(name).main()
    return found[0]


def options(parser: argparse.ArgumentParser) -> set[str]:
    names = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                names |= options(part)
        elif not isinstance(action, argparse._HelpAction):
            names.add(action.dest)
    return names


@pytest.mark.parametrize("tool", sorted({way.tool for way in ways.WAYS}))
def test_every_option_has_a_row(tool, monkeypatch):
    known = ways.NO_FILE | set(ways.BY_DESIGN) | set(ways.COVERED)
    unknown = options(parser_of(tool, monkeypatch)) - known
    assert not unknown, f"tests/hostile/ways.py has no row for {unknown} of {tool}"


def test_what_is_said_to_be_covered_is_walked():
    walked = {way.option.split(" (")[0] for way in ways.WAYS}
    assert {name for name in ways.COVERED.values() if name not in walked} == set()
