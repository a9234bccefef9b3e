# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Parts of a run's model that the choices make: its backbone, and how images reach it."""

from typing import Any

from mmengine.config import Config

from .backbones import backbone_config, with_averages
from .chosen import Choices


def chosen_backbone(choices: Choices, splits: int) -> dict[str, Any]:
    """The config of a run's backbone, whose norm has so many parts."""
    backbone = backbone_config(choices.model, choices.image_size, splits, choices.in_channels)
    if choices.norm_eval:
        backbone["norm_eval"] = True
    if choices.norm_momentum:
        backbone = with_averages(backbone, choices.norm_momentum)
    return backbone


def preprocessor(cfg: Config, choices: Choices) -> dict[str, Any]:
    """The base config's, or what a detector whose backbone goes on is used to."""
    found = cfg.data_preprocessor.to_dict()
    if choices.inputs is not None:
        found.pop("to_rgb", None)
        found |= choices.inputs.as_preprocessor
    return found
