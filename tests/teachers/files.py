# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Files of small teachers."""

from pathlib import Path

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

RESNET = dict(type="ResNet", depth=18, base_channels=8, stem_channels=8)


def own_file(path, settings=RESNET, scale: float = 1.0, **change) -> nn.Module:
    """A checkpoint of ours, with its config inside; returns the backbone, in eval mode.

    Args:
        path: Of the file.
        settings: Config of the backbone.
        scale: What its weights are multiplied by.
        **change: Further entries of its weights.
    """
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        backbone = MODELS.build(dict(settings))
    for value in backbone.parameters():
        value.data.mul_(scale)
    state = {f"backbone.{k}": v for k, v in backbone.state_dict().items()} | change
    text = f"model = dict(type='XMoCo', backbone={settings!r})\n"
    text += "data_preprocessor = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], to_rgb=True)\n"
    torch.save({"state_dict": state, "meta": {"cfg": text}}, path)
    backbone.eval()
    return backbone


def written(folder, name, content) -> Path:
    """Writes weights as the end of the name says."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file = pytest.importorskip("safetensors.torch").save_file
        save_file({key: value.contiguous() for key, value in content.items()}, path)
    else:
        torch.save(content, path)
    return path


def of_timm(name, depth=2) -> dict:
    """Config of a network of timm with so many blocks."""
    return dict(type="TIMMBackbone", model_name=name, dynamic_img_size=True, depth=depth)
