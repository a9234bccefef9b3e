# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Work dirs to report on: real tiny runs, and files that a training would write."""

import json
from pathlib import Path

import numpy as np

from ... import tiny_runner


def train(folder: Path, epochs: int = 4, watched: bool = False, **options) -> Path:
    """A run with kNN, a checkpoint an epoch and a summary.

    Its health is what HealthHook finds where ``watched``, and otherwise made up, see below.
    """
    runner = tiny_runner.build(
        folder,
        hooks=[dict(type="RunSummaryHook"), *([dict(type="HealthHook")] if watched else [])],
        validate=True,
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=1),
        **options,
    )
    runner.train()
    if not watched:
        write_lines(folder / "health.jsonl", [health(epoch) for epoch in range(1, epochs + 1)])
    return folder


def health(epoch: int, verdict: str | None = None) -> dict:
    """A line of health.jsonl: positive pairs draw together, negative ones stay at 0."""
    edges = np.linspace(-1, 1, 41).round(2).tolist()
    centres = np.linspace(-0.975, 0.975, 40)
    counts = {
        name: np.round(1000 * np.exp(-((centres - mean) ** 2) / 0.02)).astype(int).tolist()
        for name, mean in (("hist_pos", 0.2 * epoch), ("hist_neg", 0.0))
    }
    return dict(
        epoch=epoch,
        iter=4 * epoch,
        verdict=verdict or ("too early" if epoch == 1 else "learning"),
        reason=f"InfoNCE at {1 - 0.1 * epoch:.2f} of its uninformed value",
        values=dict(
            pos_sim_mean=0.2 * epoch,
            pos_sim_std=0.1,
            neg_sim_mean=0.0,
            neg_sim_std=0.1,
            nce_ratio=1 - 0.1 * epoch,
            effective_rank=3.0 + epoch,
            asymmetry=0.1 / epoch,
        ),
    ) | {name: dict(edges=edges, counts=row) for name, row in counts.items()}


def write_lines(file: Path, entries: list[dict]) -> None:
    """JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def write_scalars(folder: Path, part: str, entries: list[dict]) -> None:
    """The log of one start of a run."""
    write_lines(folder / part / "vis_data" / "scalars.json", entries)


def step(iteration: int, loss: float, length: int = 4) -> dict:
    """A logged iteration of training."""
    epoch = (iteration - 1) // length + 1
    return dict(lr=0.1, loss=loss, time=0.1, epoch=epoch, iter=iteration, step=iteration)
