# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The options of every command, taken from its own parser."""

import argparse
import importlib
import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
# xmoco's command -> the module that has it, which is also the name of its door in tools/.
COMMANDS = {
    "pretrain": "pretrain",
    "train": "train",
    "evaluate": "evaluate",
    "embed": "embed",
    "report": "report",
    "runs": "runs",
    "export": "export_backbone",
    "transfer": "transfer",
    "few-labels": "few_labels",
    "pack": "pack_images",
    "views": "browse_views",
    "eval-knn": "eval_knn",
    "test": "test",
    "cifar10-to-npz": "cifar10_to_npz",
    "doctor": "doctor",
}


class _Found(BaseException):
    """Leaves a command as soon as it has built its parser."""


@cache
def parser_of(module: str) -> argparse.ArgumentParser:
    """Returns the parser with which a command reads its options; nothing else of it is run.

    Args:
        module: Name of the command's module, such as ``export_backbone``.

    Raises:
        LookupError: There is no such command.
    """
    found: list[argparse.ArgumentParser] = []

    def take(self: argparse.ArgumentParser, *_: object, **__: object) -> None:
        found.append(self)
        raise _Found

    main = _import(module).main
    with (
        mock.patch.object(argparse.ArgumentParser, "parse_args", take),
        mock.patch.object(argparse.ArgumentParser, "parse_known_args", take),
    ):
        try:
            main()
        except _Found:
            return found[0]
    raise LookupError(f"{module} reads no options.")


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


def _import(module: str) -> ModuleType:
    if (ROOT / "xmoco_plugin" / "cli" / f"{module}.py").is_file():
        return importlib.import_module(f"xmoco_plugin.cli.{module}")
    file = TOOLS / f"{module}.py"
    if not file.is_file():
        raise LookupError(f"There is no command {module}.")
    # By its path: the standard library has a `test` of its own.
    spec = importlib.util.spec_from_file_location(f"documented_{module}", file)
    loaded = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(TOOLS))
    try:
        spec.loader.exec_module(loaded)
    finally:
        sys.path.remove(str(TOOLS))
    return loaded
