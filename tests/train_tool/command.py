# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Runs train.py in this process."""

from ..tool_modules import run_tool


def run_train(tools, monkeypatch, capsys, *arguments) -> tuple[int, str]:
    """Runs tools/train.py as a script would; returns its exit status and stderr."""
    status = run_tool(tools[0], monkeypatch, *arguments)
    return status, capsys.readouterr().err
