# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Backbones whose every layer shows in the features, checkpoints of them, and the tool on them."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import nn

import xmoco_plugin  # noqa: F401  (registers XMoCo)

from .. import tool_modules

R50 = dict(type="ResNet", depth=50)
VIT = dict(type="MoCoV3ViT", arch="mocov3-small", img_size=224, patch_size=16)


def needs(package: str):
    """The package, or a skip that names the command that brings it."""
    return pytest.importorskip(
        package,
        reason=f"{package} cannot be imported here: `make setup-transfer` installs it",
        exc_type=ImportError,
    )


def randomize(model: nn.Module, seed: int = 0) -> nn.Module:
    """Fill a model so that two swapped layers are seen: no norm, bias or token stays 0 or 1."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if not value.is_floating_point():
            continue
        draw = torch.rand(value.shape, generator=generator)
        if value.dim() > 1 and "embed" not in name and "token" not in name:
            value.copy_((2 * draw - 1) * (3 / value[0].numel()) ** 0.5)
        elif name.endswith(("running_var", "weight")):
            value.copy_(0.5 + draw)
        else:
            value.copy_(draw - 0.5)
    model.eval()
    return model


def xmoco(backbone: dict, seed: int = 0) -> nn.Module:
    """An XMoCo around a backbone, randomized."""
    model = MODELS.build(
        dict(
            type="XMoCo",
            backbone=backbone,
            neck=dict(type="MoCoV2Neck", in_channels=8, hid_channels=8, out_channels=4),
            head=dict(type="XMoCoHead", temperature=0.2, consistency=dict(), uniformity=dict()),
            queue_len=8,
            feat_dim=4,
        )
    )
    return randomize(model, seed)


def save(model: nn.Module, path: Path, backbone: dict) -> Path:
    """A checkpoint as mmengine's hook writes one, with its config's text."""
    text = Config(
        dict(
            model=dict(type="XMoCo", backbone=backbone),
            train_dataloader=dict(dataset=dict(type="UnlabeledFolder", data_root="photos")),
        )
    ).pretty_text
    meta = dict(
        cfg=text,
        epoch=200,
        iter=1000,
        experiment_name="xmoco_r50_8xb32_20240101_120000",
        dataset_meta=dict(classes=("a", "b")),
    )
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return path


def run_tool(monkeypatch, *arguments) -> int:
    """Runs tools/export_backbone.py as its command line does; returns the exit status."""
    tool = tool_modules.import_tool("export_backbone")
    return tool_modules.run_tool(tool, monkeypatch, *arguments)
