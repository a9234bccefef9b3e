# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Tiny runs that are stopped and resumed, and what they leave, to be compared bit for bit."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmpretrain.registry import HOOKS

from tests import models, tiny_runner
from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.cli.runners import timed_checkpoints
from xmoco_plugin.hooks import StopRequested

TIMES = ("time", "data_time", "memory")
# Of a checkpoint, what names the run or the moment (the host's version bears the commit).
NAMES = ("experiment_name", "last_ckpt", "cfg", "time", "mmengine_version")
HOOK_TYPES = ("ExactResumeHook", "HealthHook", "TimedCheckpointHook")


class Killed(RuntimeError):
    """In place of kill -9: nothing of the run is told."""


@HOOKS.register_module(force=True)
class KillAfter(Hook):
    """Ends the process's run after so many iterations, after all other hooks."""

    priority = "LOWEST"

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.iterations:
            raise Killed


@HOOKS.register_module(force=True)
class AskAfter(Hook):
    """Asks for a checkpoint in so many iterations, for the end with it in the last of them."""

    def __init__(self, iterations: list[int], stop: bool = True) -> None:
        self.iterations, self.stop = iterations, stop

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 in self.iterations:
            timed_checkpoints(runner).ask(stop=self.stop and runner.iter + 1 == self.iterations[-1])


def run(
    folder: Path,
    stop: int | None = None,
    ask: list[int] | None = None,
    hooks: tuple = (),
    **options: Any,
):
    """Train to the end; or be killed after `stop` iterations, or end on request; the runner."""
    added = [dict(type=kind) for kind in HOOK_TYPES] + list(hooks)
    if ask is not None:
        added.append(dict(type="AskAfter", iterations=ask, stop=stop is None))
    if stop is not None:
        added.append(dict(type="KillAfter", iterations=stop))
    settings = dict(
        model=models.config(
            data_preprocessor=dict(type="SelfSupDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3)
        ),
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=3, val_interval=1),
        param_scheduler=[
            dict(type="CosineAnnealingLR", T_max=3, by_epoch=True, convert_to_iter_based=True)
        ],
    )
    runner = tiny_runner.build(folder, hooks=added, validate=True, **settings | options)
    with contextlib.suppress(Killed, StopRequested):
        runner.train()
    return runner


def states(folder: Path, name: str = "epoch_3.pth") -> Iterator[tuple[str, Any]]:
    """All that a checkpoint holds, by where it stands, but for times and names."""
    yield from _leaves(dict(read_checkpoint(folder / name)), "")
    yield "health.jsonl", (folder / "health.jsonl").read_text()
    yield "kNN", knn_lines(folder)


def knn_lines(folder: Path) -> list:
    """[step, percent] of each epoch, as the visualizer has them; the last of several counts."""
    found = {}
    for file in sorted(folder.glob("*/vis_data/scalars.json")):
        for line in map(json.loads, file.read_text().splitlines()):
            if "accuracy/top1" in line:
                found[line["step"]] = line["accuracy/top1"]
    return sorted(found.items())


def unlike(first: Path, second: Path, name: str = "epoch_3.pth") -> list[str]:
    """Where two runs differ."""
    ours, theirs = dict(states(first, name)), dict(states(second, name))
    return sorted(
        {key for key in ours.keys() & theirs.keys() if not _same(ours[key], theirs[key])}
        | (ours.keys() ^ theirs.keys())
    )


def unlike_files(first: Path, second: Path) -> list[str]:
    """Where two checkpoints differ, but for times and names."""
    ours, theirs = (dict(_leaves(dict(read_checkpoint(file)), "")) for file in (first, second))
    return sorted(
        {key for key in ours.keys() & theirs.keys() if not _same(ours[key], theirs[key])}
        | (ours.keys() ^ theirs.keys())
    )


def _leaves(value: Any, where: str) -> Iterator[tuple[str, Any]]:
    if where.split("/")[-1] in NAMES:
        return
    if isinstance(value, HistoryBuffer):
        if where.split("/")[-1] not in TIMES:
            yield where, np.stack(value.data)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, f"{where}/{key}")
    elif isinstance(value, list | tuple):
        yield where, len(value)
        for number, part in enumerate(value):
            yield from _leaves(part, f"{where}/{number}")
    else:
        yield where, value


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, np.ndarray):
        return first.shape == second.shape and np.array_equal(first, second, equal_nan=True)
    return first == second
