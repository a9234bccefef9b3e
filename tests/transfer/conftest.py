# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a fine-tuning that is not run takes: images, and a file of weights."""

from pathlib import Path

import pytest
import torch

from .drawn import draw


@pytest.fixture
def data(tmp_path) -> Path:
    return draw(tmp_path / "data", train=24, val=2)


@pytest.fixture
def weights(tmp_path) -> Path:
    torch.save({"backbone.conv1.weight": torch.zeros(1)}, tmp_path / "p.pth")
    return tmp_path / "p.pth"
