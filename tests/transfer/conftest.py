# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a fine-tuning that is not run takes: images, and a file of weights."""

import functools
from pathlib import Path

import pytest
import torch
from mmpretrain.models import ResNet

from .drawn import draw


@pytest.fixture
def data(tmp_path) -> Path:
    return draw(tmp_path / "data", train=24, val=2)


@pytest.fixture
def weights(tmp_path) -> Path:
    torch.save(_resnet(), tmp_path / "p.pth")
    return tmp_path / "p.pth"


@functools.cache
def _resnet() -> dict[str, torch.Tensor]:
    """Weights of a ResNet-18, one stored number each: only names and shapes are looked at."""
    state = ResNet(depth=18).state_dict()
    return {f"backbone.{k}": v.new_ones(()).expand(v.shape) for k, v in state.items()}
