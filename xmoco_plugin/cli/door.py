# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Starts a command. Loaded by its path: the package imports the hosts, which takes seconds."""

# Nothing but the standard library here, and nothing of the package at the top.

import contextlib
import importlib
import runpy
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path


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


def main(command: str, arguments: list[str], program: str) -> int:
    """Runs a command of this package; returns the exit status.

    Args:
        command: Name of its module in this folder.
        arguments: Its command line, without the program.
        program: What its help and errors call it.
    """
    before = runpy.run_path(str(Path(__file__).with_name("before_import.py")))
    before["set_wait_policy"]()
    with silent_interrupt(), before["sign_of_life"](program):
        module = importlib.import_module(f"xmoco_plugin.cli.{command}")
        exits = importlib.import_module("xmoco_plugin.cli.exits")
    sys.argv = [program, *arguments]
    return exits.run(module.main)
