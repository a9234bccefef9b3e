# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""First weights: those of a detector that can go back into it, and those of other channels."""

import pytest
import torch
from mmpretrain.models import ResNet
from torch import nn

from xmoco_plugin.checkpoint import CheckpointError, read_checkpoint
from xmoco_plugin.cli.backbones import load_backbone
from xmoco_plugin.pretraining import Choices, first_weights, look_into
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


RPN = {"rpn_head.weight": torch.ones(2, 2)}


@pytest.mark.parametrize(("more", "asked"), [({}, None), (RPN, None), (RPN, "resnet18")])
def test_a_file_of_four_channels_has_the_name_of_its_model(tmp_path, more, asked):
    network = ResNet(18, in_channels=4)
    state = {f"backbone.{key}": value for key, value in network.state_dict().items()} | more
    file = tmp_path / "file.pth"
    torch.save(dict(state_dict=state), file)
    assert look_into(str(file), model=asked)[:2] == ("resnet18", bool(more))


def test_weights_of_four_channels_are_refused_for_pictures_with_both_shapes(tmp_path):
    file = tmp_path / "file.pth"
    torch.save(ResNet(18, in_channels=4).state_dict(), file)
    choices = Choices("resnet18", 48, batch_size=4, queue_len=4)
    shapes = r"conv1.weight: checkpoint \(64, 4, 7, 7\), model \(64, 3, 7, 7\)"
    with pytest.raises(CheckpointError, match=shapes):
        first_weights(str(file), choices, Outputs(512, True), tmp_path)


@pytest.mark.parametrize("stem", ["", "backbone."])
def test_a_deeper_network_is_not_cut_to_a_shallow_one(tmp_path, stem):
    file = tmp_path / "file.pth"
    torch.save({f"{stem}{k}": v for k, v in ResNet(34).state_dict().items()}, file)
    with pytest.raises(CheckpointError, match=r"deeper backbone .*80 tensors .*layer1.2.conv1"):
        look_into(str(file), model="resnet18")
    for channels in (3, 4):
        choices = Choices("resnet18", 48, batch_size=4, queue_len=4, in_channels=channels)
        with pytest.raises(CheckpointError, match=r"layer1.2.conv1.weight"):
            first_weights(str(file), choices, Outputs(512, True), tmp_path)
    model = nn.ModuleDict({"backbone": ResNet(18)})
    with pytest.raises(CheckpointError, match=r"layer1.2.conv1.weight"):  # evaluate and embed
        load_backbone(model, str(file))
    model["backbone"] = ResNet(34)
    load_backbone(model, str(file))
