# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The models of configs with few channels: the same structure, milliseconds a step."""

import copy
from collections.abc import Iterator

from mmengine.config import ConfigDict

SMALL = dict(hid_channels=16, out_channels=8, feat_dim=8, queue_len=16, num_prototypes=12)


def shrunken(model: ConfigDict) -> ConfigDict:
    """A model's config with a narrow encoder, embeddings of 8 numbers and a queue of 16."""
    model = copy.deepcopy(model)
    for part in parts(model):
        part.update({key: value for key, value in SMALL.items() if key in part})
        if "in_channels" in part:  # a predictor, a head; the neck follows
            part.in_channels = SMALL["out_channels"]
        if part.get("type") == "SwAVLoss":
            part.num_prototypes = SMALL["num_prototypes"]
        if part.get("type") == "SplitBN":
            part.num_splits = 2
    # Compiling all of a ResNet-50, for the first time on a machine, takes minutes.
    stages = 1 if model.get("compile_encoders") and "depth" in model.backbone else 4
    model.neck.in_channels = _shrink(model.backbone, stages)
    return model


def parts(config: ConfigDict) -> Iterator[ConfigDict]:
    """A config and every config inside it."""
    yield config
    for value in config.values():
        if isinstance(value, dict):
            yield from parts(value)


def _shrink(backbone: ConfigDict, stages: int = 4) -> int:
    """Narrows it, and leaves a ResNet its first stages; returns its width."""
    if "depth" in backbone:
        backbone.update(base_channels=8, stem_channels=8)
        if stages < 4:
            strides = (1, 2, 2, 2)[:stages]
            backbone.update(num_stages=stages, strides=strides, dilations=(1,) * stages)
            backbone.out_indices = (stages - 1,)
        return 2 ** (stages + 2) * (4 if backbone.depth >= 50 else 1)
    width = 16
    backbone.arch = dict(embed_dims=width, num_layers=2, num_heads=2, feedforward_channels=width)
    return width
