# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Runs pretrain.py: in a process of its own, or in this one."""

import subprocess
from pathlib import Path

from ..forked import command, pretrain
from ..tool_modules import run_tool

EPOCHS = 2
OFFLINE = Path(__file__).resolve().parents[1] / "no_network"  # no command reaches out
STUDENT = ("--model", "MobileNetV3:small_050", "--teacher-size", 32)
FAST = ("--image-size", 32, "--batch-size", 4, "--epochs", EPOCHS, "--workers", 0, "--seed", 3)


def run(*arguments, tool: str = "pretrain") -> subprocess.CompletedProcess:
    """The tool, whose output the test reads; what trains is a process of its own."""
    return pretrain(*arguments) if tool == "pretrain" else command(tool, *arguments)


def refused(tool, monkeypatch, capsys, *arguments) -> str:
    """What a command that must fail prints; it must end with status 2 and no traceback."""
    assert run_tool(tool, monkeypatch, *arguments) == 2
    return capsys.readouterr().err


def fake_training(folder: Path, body: str) -> Path:
    """A program to start in place of the commands' door; it does something else."""
    folder.mkdir()
    (folder / "door.py").write_text(f"import os, sys, time\n{body}")
    return folder / "door.py"
