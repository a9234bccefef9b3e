# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Starts a command: its line is parsed and checked first, then the hosts are imported.

Loaded by its path, by xmoco.py and `__main__.py`: importing the package imports the hosts.
"""

# Nothing but the standard library at the top, and nothing of the package.

import argparse
import contextlib
import ctypes
import gc
import importlib
import importlib.util
import os
import runpy
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).resolve().parent
USER_ERROR = 2  # exit status, as argparse's own
PR_SET_PDEATHSIG = 1  # of Linux


@contextlib.contextmanager
def silent_interrupt() -> Iterator[None]:
    """Lets Ctrl-C end the process as the system does, while hosts are imported: no traceback."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def end_with_launcher() -> None:
    """Has the system send SIGTERM when our launcher is killed: nothing trains on unseen.

    Where it is not Linux, or another launcher has started this process, nothing is done.
    """
    launcher = os.environ.get(load("agent").OURS)
    if launcher != str(os.getppid()) or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
    if launcher != str(os.getppid()):  # it was killed meanwhile
        os.kill(os.getpid(), signal.SIGTERM)


def load(name: str) -> ModuleType:
    """Imports a file or folder that lies here and needs nothing of the package, without it."""
    known_as = f"xmoco_cli_{name}"
    if known_as in sys.modules:
        return sys.modules[known_as]
    folder = FOLDER / name
    file = folder / "__init__.py" if folder.is_dir() else FOLDER / f"{name}.py"
    spec: Any = importlib.util.spec_from_file_location(
        known_as, file, submodule_search_locations=[str(folder)] if folder.is_dir() else None
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[known_as] = module
    spec.loader.exec_module(module)
    return module


def main(words: list[str]) -> int:
    """Runs what stands behind the word xmoco; returns the exit status."""
    with silent_interrupt():
        options = load("options")
    if words and not words[0].startswith("-"):
        command = options.COMMANDS.get(words[0])
        if command is None:
            print(f"error: {options.say_unknown(words[0])}", file=sys.stderr)
            load("agent").leave_job()
            return USER_ERROR
        return run(command, words[1:], f"xmoco {words[0]}")
    parser = options.build_all()
    args = options.parse_all(parser, words)
    if args.version:
        print(runpy.run_path(str(FOLDER.parent / "version.py"))["__version__"])
    elif args.print_completion:
        return print_completion(parser, args.print_completion)
    else:
        parser.print_help()
    return 0


def run(command: str, arguments: list[str], program: str) -> int:
    """Runs a command; returns the exit status.

    Args:
        command: Name of its file here, and in `options`.
        arguments: The words behind it.
        program: What help and errors call it.

    Raises:
        SystemExit: Status 2 after a mistake in the arguments was said, 0 after the help.
    """
    if command in ("train", "pretrain") and hasattr(signal, "SIGUSR1"):
        # It asks for a checkpoint; before there is one to write it must not end the process.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    end_with_launcher()
    with silent_interrupt():
        try:
            args = load("options").parse(command, arguments, program)
        except SystemExit as end:
            if end.code == USER_ERROR:
                load("agent").leave_job()
            raise
        if command == "doctor":
            if not args.data:  # it is for those whose stack cannot be imported, too
                return load("doctor").main(args)
            command = "look_at_data"
    before = load("before_import")
    before.set_wait_policy()
    with silent_interrupt(), before.sign_of_life(program):
        try:
            importlib.import_module("xmoco_plugin")
        except ImportError as error:
            if error.name != "xmoco_plugin._stack":
                raise
            print(
                f"error: {error}\n`xmoco doctor` looks at all the rest.",
                file=sys.stderr,
                flush=True,
            )
            load("agent").leave_job()
            return USER_ERROR
        module = importlib.import_module(f"xmoco_plugin.cli.{command}")
        start = importlib.import_module("xmoco_plugin.cli.start")
    # The host collects garbage for each dataset that it builds: half a million objects of imported
    # modules need not be looked through, a third of a second each time.
    gc.freeze()
    return start.run(module, args)


def for_files(parser: argparse.ArgumentParser, complete: Any) -> None:
    """Marks what takes a path, in a parser and those below it, for shtab."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                for_files(below, complete)
        elif action.nargs != 0 and action.choices is None and action.type in (None, Path):
            action.complete = complete  # type: ignore[attr-defined]


def print_completion(parser: argparse.ArgumentParser, shell: str) -> int:
    """Prints a script for a shell; returns the exit status."""
    try:
        shtab = importlib.import_module("shtab")
    except ImportError:
        print("error: --print-completion needs shtab: pip install shtab", file=sys.stderr)
        return USER_ERROR
    for_files(parser, shtab.FILE)
    print(shtab.complete(parser, shell))
    return 0
