# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fine-tunings that are not run, with metrics that can be told beforehand."""

import json
from collections.abc import Callable
from pathlib import Path

from ..format_once import leave_unformatted
from ..tool_modules import import_tool


def pretend(monkeypatch, metrics: Callable[[Path], dict]) -> list[Path]:
    """Replaces training and testing by metrics, by the run's config; returns the trained configs.

    A config lies as START/SHAREpct/seed_SEED.py, those of rates below `rates`.
    """
    trained: list[Path] = []

    def run(name, arguments, gpus, extra):
        assert name == "train"
        config = Path(arguments[0])
        trained.append(config)
        Path(arguments[2]).write_text(json.dumps(metrics(config)))

    monkeypatch.setattr(import_tool("transfer"), "_run", run)
    leave_unformatted(monkeypatch)
    return trained
