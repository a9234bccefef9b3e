# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the commands may be told, one file each. Loaded before, and without, the package.

Only the standard library is imported here, and names of this folder relatively: `door.py` loads it
by its path, so that help and mistakes take a tenth of a second and not the hosts' seven.
"""

import argparse
import importlib
from collections.abc import Sequence
from types import ModuleType

from .parser import nearest, parse_all
from .shared import check_files, refuse

# The word after xmoco -> the file here, in cli/ and, but for doctor, in tools/.
COMMANDS = {
    "pretrain": "pretrain",
    "train": "train",
    "test": "test",
    "evaluate": "evaluate",
    "eval-knn": "eval_knn",
    "embed": "embed",
    "select": "select_images",
    "report": "report",
    "runs": "runs",
    "export": "export_backbone",
    "transfer": "transfer",
    "few-labels": "few_labels",
    "compare": "compare",
    "pack": "pack_images",
    "duplicates": "duplicates",
    "views": "browse_views",
    "cifar10-to-npz": "cifar10_to_npz",
    "doctor": "doctor",
}
SHELLS = ("bash", "zsh", "tcsh")


def options_of(name: str) -> ModuleType:
    """The file of a command here; `name` is the file's."""
    return importlib.import_module(f".{name}", __name__)


def build(name: str, program: str) -> argparse.ArgumentParser:
    """The parser of a command, by its file's name; help and errors call it `program`."""
    module = options_of(name)
    # Where words are handed on, a shortened one could be meant for another.
    whole = getattr(module, "KNOWN_ONLY", False)
    parser = argparse.ArgumentParser(
        prog=program, description=module.__doc__, allow_abbrev=not whole
    )
    module.add(parser)
    return parser


def parse(name: str, arguments: Sequence[str], program: str | None = None) -> argparse.Namespace:
    """Parses a command's line, and checks of it what can be checked without the hosts.

    Args:
        name: Of its file.
        arguments: The words after the command.
        program: What errors and help call it; by default the file of tools/.

    Raises:
        SystemExit: Status 2 after a mistake was said, 0 after the help.
    """
    module = options_of(name)
    parser = build(name, program or f"{name}.py")
    if getattr(module, "KNOWN_ONLY", False):
        args, extra = parser.parse_known_args(arguments)
        args.extra = extra
    else:
        args = parse_all(parser, arguments)
    try:
        if hasattr(module, "check"):
            module.check(args, parser)
        check_files(args, parser)
    except PermissionError as error:  # a folder of another user on the way to a file
        refuse(parser, f"{error.filename}: no permission to look there. Name another place.")
    return args


def build_all() -> argparse.ArgumentParser:
    """The parser of `xmoco`, with every command below it: for its help and for completion."""
    parser = argparse.ArgumentParser(
        prog="xmoco",
        description="Pretrains, judges and hands on backbones.",
        epilog="xmoco COMMAND --help lists the options of one.",
    )
    add_general(parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for word, name in COMMANDS.items():
        module = options_of(name)
        summary = (module.__doc__ or "").partition("\n")[0]
        module.add(commands.add_parser(word, help=summary, description=module.__doc__))
    return parser


def add_general(parser: argparse.ArgumentParser) -> None:
    """Adds the options that stand where a command would."""
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument(
        "--print-completion",
        choices=SHELLS,
        help="print what completes xmoco's words in this shell (needs shtab) and exit",
    )


def say_unknown(word: str) -> str:
    """What is said of a command that there is none of."""
    near = nearest(word, COMMANDS)
    hint = f" The nearest is {near}." if near else ""
    return f"{word}: there is no such command.{hint} xmoco --help lists them."
