# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run's config for pictures of any number of channels."""

from typing import Any

from ..data.channel_reading import PREPROCESSOR, read_channels
from .channel_scan import ChannelPlan
from .chosen import Choices

# Of recipes: they mix red, green and blue.
WITHOUT_COLOURS = dict(saturation=0.0, hue=0.0, grey_prob=0.0)


def with_channels(settings: dict[str, Any], plan: ChannelPlan) -> dict[str, Any]:
    """Settings of a run on pictures in colour -> those of one on channels.

    Args:
        settings: Of a whole config, in plain dicts and lists; changed.
        plan: How they are read and normalized.
    """
    for part in ("train_dataloader", "val_dataloader", "val_cfg"):
        read_channels(settings.get(part), plan.reading)
    for step in settings["train_dataloader"]["dataset"]["pipeline"]:
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
