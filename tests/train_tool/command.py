# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Runs train.py in this process."""

import sys


def run_train(tools, monkeypatch, capsys, *arguments) -> tuple[int, str]:
    """Runs tools/train.py's main as a script would; returns its exit status and stderr."""
    train, common = tools
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
    status = common.run(train.main)
    return status, capsys.readouterr().err
