# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The command lines of tools/, which is no package, as modules."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

TOOLS = Path(__file__).resolve().parents[1] / "tools"


def import_tool(name: str) -> ModuleType:
    """The module `name` of tools/."""
    sys.path.insert(0, str(TOOLS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(TOOLS))


def run_tool(tool: ModuleType, monkeypatch, *arguments) -> int:
    """Runs a tool as its command line does; returns the exit status."""
    monkeypatch.setattr(sys, "argv", [f"{tool.__name__}.py", *map(str, arguments)])
    return tool.common.run(tool.main)
