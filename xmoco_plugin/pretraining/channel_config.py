# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run's config for pictures of any number of channels."""

from typing import Any

from ..data.channel_reading import OURS, PREPROCESSOR, read_channels
from .channel_scan import ChannelPlan
from .chosen import Choices
from .errors import PretrainError

# Of recipes: they mix red, green and blue.
WITHOUT_COLOURS = dict(saturation=0.0, hue=0.0, grey_prob=0.0)


def take_channels(choices: Choices, number: int) -> None:
    """Choose a backbone for images of so many channels, each normalized by its own deviation.

    Args:
        choices: Of the run; changed.
        number: Of channels.

    Raises:
        PretrainError: The first weights are used to images in another scale or order than
            ImageNet's RGB: a deviation of 1 would make the first layer's inputs some 50 times
            smaller, and BGR would deal its colours to the wrong channels.
    """
    if choices.inputs is not None:
        raise PretrainError(
            f"--init: its network gets images as {choices.inputs}, which does not go over to "
            f"{number} channels that are normalized by their own mean and deviation. Name weights "
            "that were trained on RGB with ImageNet's mean and deviation, leave --init out, or "
            "train on pictures of red, green and blue without --channels."
        )
    choices.in_channels = number
    choices.why["in_channels"] = "those of the files"


def with_channels(settings: dict[str, Any], plan: ChannelPlan) -> dict[str, Any]:
    """Settings of a run on pictures in colour -> those of one on channels.

    Args:
        settings: Of a whole config, in plain dicts and lists; changed.
        plan: How they are read and normalized.
    """
    for part in ("train_dataloader", "val_dataloader", "val_cfg"):
        read_channels(settings.get(part), plan.reading)
    dataset = settings["train_dataloader"]["dataset"]
    for step in dataset["pipeline"]:
        if step["type"] == OURS and dataset["type"] == "ShardedImages":
            step["kind"] = plan.kind  # no look has seen all of them
        if step["type"] == "TwoViews":
            views = step["views"] if isinstance(step["views"], list) else [step["views"]] * 2
            step.update(type="ChannelViews", views=[view | WITHOUT_COLOURS for view in views])
    settings["data_preprocessor"] = dict(
        type=PREPROCESSOR,
        mean=list(plan.reading.fill),
        std=plan.std,
        value_range=list(plan.reading.value_range),
    )
    return settings


def taken(choices: Choices) -> dict[str, int]:
    """The setting of a backbone for images of other than 3 channels."""
    return {} if choices.in_channels == 3 else {"in_channels": choices.in_channels}
