# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The command lines of tools/, which is no package, as modules."""

import importlib
import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / "tools"


def import_tool(name: str) -> ModuleType:
    """The module `name` of tools/."""
    sys.path.insert(0, str(TOOLS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(TOOLS))


def load_tool(name: str) -> ModuleType:
    """Imports tools/`name`.py; the standard library has a `test` of its own."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", TOOLS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_tool(tool: ModuleType, monkeypatch, *arguments) -> int:
    """Runs a tool as its command line does; returns the exit status."""
    monkeypatch.setattr(sys, "argv", [f"{tool.__name__}.py", *map(str, arguments)])
    return tool.common.run(tool.main)


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
