# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The command lines of xmoco_plugin/cli as modules."""

import importlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

from xmoco_plugin.cli import exits

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"


def import_tool(name: str) -> ModuleType:
    """The module of the command `name`."""
    return importlib.import_module(f"xmoco_plugin.cli.{name}")


def run_tool(tool: ModuleType, monkeypatch, *arguments) -> int:
    """Runs a tool as its command line does; returns the exit status."""
    name = tool.__name__.rpartition(".")[2]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
    return exits.run(tool.main)


def wait_for_file(file: Path, process: subprocess.Popen, seconds: float) -> None:
    """Until the process, whose stderr is a pipe, has written the file; fails if it ends before."""
    end = time.monotonic() + seconds
    while not file.is_file():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.02)


def heed_ctrl_c() -> None:
    """For ``preexec_fn``: a shell's background job, which these tests may be, ignores Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
