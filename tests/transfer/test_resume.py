# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A real detector's and segmentor's training goes on exactly, from what is read as data."""

import shutil

import pytest
import torch

from xmoco_plugin.weights import read_checkpoint

from ..resuming import runs
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
def test_a_fine_tuning_stopped_within_an_epoch_goes_on_bit_for_bit_and_runs_nothing_of_its_file(
    config, options, tmp_path, monkeypatch
):
    tool, data = import_tool("train"), draw(tmp_path / "data", train=4, val=2)

    def train(work, *more: str) -> int:
        changes = [*options, *FAST, "train_cfg.max_iters=3"]
        changes += ["default_hooks.checkpoint.interval=1"]
        words = [ROOT / config, "--data-root", data, "--work-dir", work, *more]
        return run_tool(tool, monkeypatch, *words, "--cfg-options", *changes)

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(whole) == 0
    cut.mkdir()  # as it stood after one step, two images of four
    shutil.copy(whole / "iter_1.pth", cut)
    (cut / "last_checkpoint").write_text(str(cut / "iter_1.pth"))
    loads = []

    def load(*arguments, real=torch.load, **settings):
        loads.append(settings.get("weights_only"))
        return real(*arguments, **settings)

    monkeypatch.setattr(torch, "load", load)
    assert train(cut, "--resume") == 0
    assert loads
    assert set(loads) == {True}
    last = read_checkpoint(cut / "iter_3.pth")
    assert last["meta"]["iter"] == 3
    assert last["message_hub"]["log_scalars"]
    assert last["optimizer"]["state"]
    # Weights, averages, optimizer, schedule, losses: all but times.
    assert runs.unlike_files(whole / "iter_3.pth", cut / "iter_3.pth") == []
    assert runs.unlike_files(whole / "iter_2.pth", cut / "iter_3.pth") != []
