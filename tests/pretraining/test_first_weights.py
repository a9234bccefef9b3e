# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""First weights of a detector: those that can go back into it say so, and are told how."""

import pytest
import torch
from mmpretrain.models import ResNet

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.pretraining import Choices, first_weights
from xmoco_plugin.pretraining.back_again import way_back
from xmoco_plugin.pretraining.backbones import Outputs

WORDS = dict(python="python", folder_quoted="run")


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """A detector's checkpoint, of pictures in colour."""
    file = tmp_path_factory.mktemp("detector") / "my.detector.safetensors"
    state = {f"backbone.{key}": value for key, value in ResNet(18).state_dict().items()}
    state["rpn_head.weight"] = torch.ones(2, 2)
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(state, file)
    return file


@pytest.mark.parametrize("channels", [3, 4])
def test_a_way_back_is_told_where_the_detector_takes_the_runs_backbone(
    detector, tmp_path, channels
):
    choices = Choices("resnet18", 48, batch_size=4, queue_len=4, in_channels=channels)
    file = first_weights(str(detector), choices, Outputs(512, True), tmp_path)
    stem = read_checkpoint(file)["state_dict"]["backbone.conv1.weight"]
    assert stem.shape == (64, channels, 7, 7)
    text = way_back(tmp_path, WORDS)
    line = f"xmoco export run {tmp_path}/continued_my.detector.pth --into {detector}\n"
    assert (line in text) if channels == 3 else text == ""
