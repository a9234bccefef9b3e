# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The directive `command-options`: usage and options of a command, from its parser."""

import argparse
import re
from typing import Any

import parsers
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class CommandOptions(SphinxDirective):
    """``{command-options} export_backbone`` with how the command is called as its content."""

    required_arguments = 1
    has_content = True

    def run(self) -> list[nodes.Node]:
        parser = parsers.parser_of(self.arguments[0])
        called = " ".join(self.content)
        parts = parsers.subparsers_of(parser)
        if not parts:
            return _describe(parser, called)
        made: list[nodes.Node] = []
        for name, part in parts.items():
            made += _describe(part, f"{called} {name}")
        return made


def _describe(parser: argparse.ArgumentParser, called: str) -> list[nodes.Node]:
    parser.prog = called
    # As wide wherever the site is built.
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=88)
    formatter = parser._get_formatter()
    # Without the word and as much less of the indent below it.
    usage = re.sub(r"^usage: |^ {7}", "", parser.format_usage().rstrip(), flags=re.MULTILINE)
    listed = nodes.definition_list()
    for action in parser._actions:
        if action.dest == "help" or action.help == argparse.SUPPRESS:
            continue
        term = nodes.term("", "", nodes.literal("", _written(action, formatter)))
        text = formatter._expand_help(action) if action.help else ""
        listed += nodes.definition_list_item(
            "", term, nodes.definition("", nodes.paragraph("", text))
        )
    return [nodes.literal_block(usage, usage, language="text"), listed]


def _written(action: argparse.Action, formatter: Any) -> str:
    """What is typed: the name of an argument, or an option with its values."""
    if not action.option_strings:
        return formatter._format_args(action, action.metavar or action.dest)
    names = ", ".join(action.option_strings)
    if action.nargs == 0:
        return names
    return f"{names} {formatter._format_args(action, action.metavar or action.dest.upper())}"


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers the directive."""
    app.add_directive("command-options", CommandOptions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
