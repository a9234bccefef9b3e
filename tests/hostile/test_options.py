# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""No option without a row: one that takes a file is walked, and every other is named as such."""

import argparse

import pytest

from xmoco_plugin.cli import options

from . import ways


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Names of what a parser, and those below it, take."""
    names = set()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for part in action.choices.values():
                names |= options_of(part)
        elif not isinstance(action, argparse._HelpAction):
            names.add(action.dest)
    return names


@pytest.mark.parametrize("command", sorted(set(options.COMMANDS.values())))
def test_every_option_has_a_row(command):
    known = ways.NO_FILE | set(ways.BY_DESIGN) | set(ways.COVERED)
    unknown = options_of(options.build(command, command)) - known
    assert not unknown, f"tests/hostile/ways.py has no row for {unknown} of {command}"


def test_every_command_that_takes_a_file_is_walked():
    walked = {way.tool for way in ways.WAYS}
    # Whose --data is read by the code of pretrain and transfer.
    assert set(options.COMMANDS.values()) - walked == {"doctor"}


def test_what_is_said_to_be_covered_is_walked():
    walked = {way.option.split(" (")[0] for way in ways.WAYS}
    assert {name for name in ways.COVERED.values() if name not in walked} == set()
