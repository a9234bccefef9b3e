# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The options of every command, taken from its own parser."""

import argparse
from functools import cache

from xmoco_plugin.cli import options

COMMANDS = options.COMMANDS


@cache
def parser_of(module: str) -> argparse.ArgumentParser:
    """Returns the parser of a command.

    Args:
        module: Name of the command's file, such as ``export_backbone``.
    """
    return options.build(module, module)


def subparsers_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Returns the parsers of a command's own commands by name; empty where it has none."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Returns all that starts with a dash, those of its own commands too."""
    own = {option for action in parser._actions for option in action.option_strings}
    return own.union(*map(options_of, subparsers_of(parser).values()))
