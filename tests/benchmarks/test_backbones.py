# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the walk of the backbones compares: every level that a detector uses."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from torch import nn


class Levels(nn.Module):
    """(N, 3, H, W) -> three levels of 4 channels, the first of them off by a share."""

    def __init__(self, out_indices=(2,), off=0.0):
        super().__init__()
        self.out_indices, self.off = out_indices, off

    def forward(self, images):
        maps = [torch.stack([images.mean(1), *images.unbind(1)], 1) * (n + 1) for n in range(3)]
        maps[0] = maps[0] * (1 + self.off)
        return tuple(maps[n] for n in self.out_indices)


@pytest.mark.parametrize("off", [0.0, 1e-3])
def test_a_level_that_differs_is_found_though_the_last_one_is_equal(load, monkeypatch, off):
    walk = load("backbones")

    def built(settings, scope):
        of_host = scope == "mmdet"
        return Levels(tuple(settings["out_indices"]), off if of_host else 0.0)

    monkeypatch.setattr(walk, "built", built)
    cfg = Config(
        dict(default_scope="mmdet", model=dict(backbone=dict(type="X", out_indices=[0, 2])))
    )
    look = lambda: walk.compared(cfg, dict(type="X", out_indices=(2,)), Path("own.pth"), 8)  # noqa: E731
    if off:
        with pytest.raises(SystemExit, match=r"'0': 0.00"):
            look()
    else:
        assert look() == {"0": 0.0, "2": 0.0, "trained": 0.0}
