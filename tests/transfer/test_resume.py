# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a real detector's and segmentor's training stores is read again as data."""

import pytest
import torch

from xmoco_plugin.weights import read_checkpoint

from ..tool_modules import import_tool, run_tool
from .drawn import draw
from .hosts import needs_mmdet, needs_mmseg
from .small import NARROW_FCN, NO_WORKERS, ROOT, SMALL_CROPS, SMALL_DETECTOR

FAST = ["train_cfg.val_interval=9", "train_dataloader.batch_size=2"]


@pytest.mark.parametrize(
    ("config", "options"),
    [
        pytest.param(
            "configs/detection/faster-rcnn_r18-fpn_small_scratch.py",
            SMALL_DETECTOR,
            marks=needs_mmdet,
            id="mmdet",
        ),
        pytest.param(
            "configs/segmentation/fcn_r18_small_scratch.py",
            [*NARROW_FCN, *NO_WORKERS, *SMALL_CROPS],
            marks=needs_mmseg,
            id="mmseg",
        ),
    ],
)
def test_a_fine_tuning_is_resumed_without_running_what_its_checkpoint_holds(
    config, options, tmp_path, monkeypatch
):
    tool, data = import_tool("train"), draw(tmp_path / "data", train=4, val=2)

    def train(iters: int, *more: str) -> int:
        changes = [*options, *FAST, f"train_cfg.max_iters={iters}"]
        changes += ["default_hooks.checkpoint.interval=1"]
        words = [ROOT / config, "--data-root", data, "--work-dir", tmp_path / "work", *more]
        return run_tool(tool, monkeypatch, *words, "--cfg-options", *changes)

    assert train(1) == 0
    loads = []

    def load(*arguments, real=torch.load, **settings):
        loads.append(settings.get("weights_only"))
        return real(*arguments, **settings)

    monkeypatch.setattr(torch, "load", load)
    assert train(2, "--resume") == 0
    assert loads
    assert set(loads) == {True}
    last = read_checkpoint(tmp_path / "work" / "iter_2.pth")
    assert last["meta"]["iter"] == 2
    assert last["message_hub"]["log_scalars"]
    assert last["optimizer"]["state"]
