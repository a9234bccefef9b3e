# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The command lines of xmoco_plugin/cli as modules."""

import argparse
import importlib
import signal
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from xmoco_plugin.cli import options, start

from .conftest import instances_restored

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"


def import_tool(name: str) -> ModuleType:
    """The module of the command `name`."""
    return importlib.import_module(f"xmoco_plugin.cli.{name}")


def run_tool(tool: ModuleType, monkeypatch, *arguments) -> int:
    """Runs a tool as its command line does; returns the exit status.

    As if in a process of its own: of two runs that begin in one second, and so have one name, the
    second would find the first one's logger and message hub.
    """
    try:
        args = parse(tool, *arguments)
    except SystemExit as end:
        return end.code
    with instances_restored():
        return start.run(tool, args)


def parse(tool: ModuleType, *arguments) -> argparse.Namespace:
    """What a tool makes of its command line, before the hosts are there."""
    return options.parse(tool.__name__.rpartition(".")[2], [*map(str, arguments)])


def wait_for_file(file: Path, process: Any, seconds: float) -> None:
    """Until the process has written the file; fails if it ends before."""
    end = time.monotonic() + seconds
    while not file.is_file():
        said = getattr(process, "communicate", tuple)  # of a fork, where its streams go
        assert process.poll() is None, said()
        assert time.monotonic() < end
        time.sleep(0.02)


def heed_ctrl_c() -> None:
    """For ``preexec_fn``: a shell's background job, which these tests may be, ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
