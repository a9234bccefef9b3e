# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of study.py: the networks that are trained."""

import itertools
from typing import Any

import torch
from mmpretrain.registry import MODELS
from torch import nn

from xmoco_plugin.pretraining.backbones import backbone_config


@MODELS.register_module()
class StudyNet(nn.Sequential):
    """Four convolutions of 3 x 3 with 16 to 128 channels, each but the first halving the image."""

    def __init__(self, norm_cfg: dict) -> None:
        widths = (3, 16, 32, 64, 128)
        layers: list[nn.Module] = []
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            norm = MODELS.build(dict(norm_cfg, num_features=after))
            conv = nn.Conv2d(before, after, 3, stride=1 if i == 0 else 2, padding=1, bias=False)
            layers += [conv, norm, nn.ReLU()]
        super().__init__(*layers)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        """(N, 3, H, W) -> the last map, (N, 128, H / 8, W / 8)."""
        return (super().forward(x),)


# Name: config, or the name of one that needs mmdet; channels of its last map; parts that a momentum
# encoder's batch is normalised in.
NETS: dict[str, tuple[dict[str, Any] | str, int, int]] = {
    "small": (dict(type="StudyNet"), 128, 4),
    "resnet18": (dict(type="ResNet_CIFAR", depth=18), 512, 8),
    "resnet18-half": (dict(type="ResNet", depth=18, stem_channels=32, base_channels=32), 256, 4),
    "cspnext-tiny": ("mmdet.CSPNeXt:tiny", 384, 4),
}


def net_of(name: str, in_parts: bool = True) -> tuple[dict[str, Any], int]:
    """Config of a network, and the channels of its last map.

    Args:
        name: key of ``NETS``.
        in_parts: whether its norm has parts. Beside a momentum encoder it needs them; without one
            nothing gives an image's own key away.
    """
    found, width, parts = NETS[name]
    config = backbone_config(found, 64, 1) if isinstance(found, str) else found
    norm = dict(type="SplitBN", num_splits=parts) if in_parts else dict(type="BN2d")
    return config | dict(norm_cfg=(config.get("norm_cfg") or {}) | norm), width
