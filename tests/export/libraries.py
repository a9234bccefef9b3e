# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Backbones as torchvision and timm build them, and their features where ours end."""

import timm
import torch
import torchvision
from torch import nn

from xmoco_plugin.export.architectures import Member


def build(member: Member, library: str) -> nn.Module:
    """The library's model of a row of the table, without a classifier in timm."""
    name = member.name_in(library)
    if library == "timm":
        return timm.create_model(name, num_classes=0)
    return getattr(torchvision.models, name)(weights=None)


def features(model: nn.Module, kind: str, library: str, image: torch.Tensor) -> torch.Tensor:
    """What the library's model gives where mmpretrain's backbone of this class ends."""
    if library == "timm":
        if kind == "ConvNeXt":
            return model(image)
        found = model.forward_features(image)
        return found.permute(0, 3, 1, 2) if kind == "SwinTransformer" else found
    if kind == "ConvNeXt":
        return model.classifier[0](model.avgpool(model.features(image))).flatten(1)
    if kind == "DenseNet":
        return model.features(image).relu()
    if kind == "SwinTransformer":
        return model.permute(model.norm(model.features(image)))
    if kind == "RegNet":
        return model.trunk_output(model.stem(image))
    if kind == "ResNeXt":
        stem = model.maxpool(model.relu(model.bn1(model.conv1(image))))
        return model.layer4(model.layer3(model.layer2(model.layer1(stem))))
    if kind == "ShuffleNetV2":
        stem = model.maxpool(model.conv1(image))
        return model.conv5(model.stage4(model.stage3(model.stage2(stem))))
    return model.features(image)
