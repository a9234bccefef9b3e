# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a run began with against what it made: its hooks, what they wrote, and in words."""

import os
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..checkpoint import CheckpointError, read_checkpoint, write_text
from ..untrusted import FileRefusedError, printable, read_text
from .errors import PretrainError

STOPPED = "stopped.txt"
STOP = "StopWhenWorseHook"


def add_start_hooks(
    hooks: list[dict[str, Any]],
    pretrained: bool,
    labels_trained_on: int | str,
    keep_going: bool,
    interval: int = 1,
) -> None:
    """Let a run's hooks know what it begins with, and keep the best of all, the start included.

    Args:
        hooks: Of the config; changed.
        pretrained: Whether it begins with good weights.
        labels_trained_on: Labelled images that are trained on too; a text where it is a bound.
        keep_going: Whether it is trained to its end although it has become worse.
        interval: Epochs from one checkpoint to the next.
    """
    export = dict(type="BestExportHook", pretrained=pretrained)
    if labels_trained_on:
        export["labels_trained_on"] = labels_trained_on
    hooks.append(export)
    if not pretrained:
        # Good weights have averages that arrived long ago, and better ones than those of the views.
        hooks.append(dict(type="FreshAveragesHook", interval=interval))
        return
    for hook in hooks:
        if hook["type"] == "HealthHook":
            hook["pretrained"] = True
    if not keep_going:
        hooks.append(dict(type=STOP))


def stopped(folder: Path) -> str | None:
    """Why a run was stopped before its last epoch, in a sentence; None where it was not.

    Raises:
        PretrainError: The file that says it cannot be read.
    """
    file = folder / STOPPED
    if not os.path.lexists(file):
        return None
    try:
        return printable(read_text(file, 10_000).strip())
    except FileRefusedError as error:
        raise PretrainError(f"{file}: {error}. Remove it to go on.") from None


def go_on_anyway(folder: Path, config: Config) -> None:
    """Take out of a run's config what stops it when it becomes worse.

    Args:
        folder: Of the run.
        config: Of the run, checked.
    """
    kept = [hook for hook in config.custom_hooks if hook.get("type") != STOP]
    if len(kept) < len(config.custom_hooks):
        config.custom_hooks = kept
        write_text(folder / "config.py", config.pretty_text)
    (folder / STOPPED).unlink(missing_ok=True)


def handed_over(folder: Path) -> str | None:
    """Which weights are in a run's ``backbone.pth`` and why, in a sentence; None where none are."""
    file = folder / "backbone.pth"
    if not file.is_file():
        return None
    try:
        record = read_checkpoint(file, mmap=True).get("meta")
    except CheckpointError as error:
        return str(error)
    if not isinstance(record, dict) or not record.get("why"):
        return None  # of a run begun before the start was one of its checkpoints
    text = f"backbone.pth holds {record.get('source')}: {record['why']}"
    if known := record.get("labels_trained_on"):
        if isinstance(known, str):
            text += (
                f"; how many of the labelled images were trained on is not known ({known}), and "
                "those flatter that kNN"
            )
        else:
            text += f"; {known} of the labelled images were trained on, which flatters that kNN"
    return printable(text)
