# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Small models for tests: the real algorithms around tiny encoders."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import nn

import xmoco_plugin  # noqa: F401  (registers XMoCo)

DIM, QUEUE = 8, 24


@MODELS.register_module(force=True)
class TinyEncoder(nn.Module):
    """(N, 3, H, W) -> ((N, 16, H, W),): one layer without BatchNorm, so that a batch can be cut."""

    def __init__(self, norm: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3, padding=1)
        self.norm = nn.BatchNorm2d(16) if norm else nn.Identity()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.norm(self.conv(x)).tanh(),)

    def init_weights(self) -> None:
        """Nothing to load."""


def config(kind: str = "XMoCo", norm: bool = True, **options) -> dict:
    """Config of a tiny MoCo or XMoCo; ``options`` override its entries."""
    head = (
        dict(type="ContrastiveHead", loss=dict(type="CrossEntropyLoss"), temperature=0.2)
        if kind == "MoCo"
        else dict(type="XMoCoHead", temperature=0.2, consistency=dict(), uniformity=dict())
    )
    return (
        dict(
            type=kind,
            backbone=dict(type="TinyEncoder", norm=norm),
            neck=dict(type="MoCoV2Neck", in_channels=16, hid_channels=12, out_channels=DIM),
            head=head,
            queue_len=QUEUE,
            feat_dim=DIM,
            momentum=0.01,
        )
        | options
    )


def classifier() -> dict:
    """Config of a tiny classifier of four classes: a model that makes no pairs of views."""
    return dict(
        type="ImageClassifier",
        backbone=dict(type="TinyEncoder"),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=4, in_channels=16),
    )


def save_checkpoint(path: Path) -> nn.Module:
    """Write an XMoCo, with its config inside as mmengine has it; returns the model."""
    preprocessor = dict(type="SelfSupDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3)
    cfg = Config(dict(model=config(), data_preprocessor=preprocessor))
    torch.manual_seed(1)
    model = MODELS.build(cfg.model)
    torch.save({"state_dict": model.state_dict(), "meta": {"cfg": cfg.pretty_text}}, path)
    return model


def build(kind: str = "XMoCo", seed: int = 0, **options) -> nn.Module:
    """The model of :func:`config` in float64, in training mode, initialized from ``seed``."""
    torch.manual_seed(seed)
    model = MODELS.build(config(kind, **options)).double()
    model.queue.copy_(nn.functional.normalize(model.queue, dim=0))
    return model.train()


def views(n: int, seed: int) -> list[torch.Tensor]:
    """Two views of n images, float64 (n, 3, 6, 6)."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randn(n, 3, 6, 6, generator=generator, dtype=torch.float64)  # noqa: E731
    images = draw()
    return [images + 0.3 * draw(), images + 0.3 * draw()]
