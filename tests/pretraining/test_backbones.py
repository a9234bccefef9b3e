# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Names of backbones, what comes out of them, and what a step on them costs."""

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from xmoco_plugin.export.architectures import FAMILIES
from xmoco_plugin.momentum import SplitBN
from xmoco_plugin.pretraining import (
    Choices,
    PretrainError,
    backbone_config,
    measure_step,
    model_config,
    probe,
)

from ..transfer.hosts import needs_mmdet


@pytest.mark.parametrize(
    ("name", "channels", "is_map", "grouped"),
    [
        ("resnet18", 512, True, False),
        ("ResNet50", 2048, True, False),
        ("vit-small", 384, False, False),
        ("MobileNetV2", 1280, True, True),
        ("convnext:atto", 320, False, True),
        ("ResNetV1d:18", 512, True, False),
        pytest.param("mmdet.CSPNeXt:tiny", 384, True, True, marks=needs_mmdet),
        pytest.param("mmdet.CSPDarknet:tiny", 384, True, False, marks=needs_mmdet),
    ],
)
def test_a_backbone_is_found_by_name_and_trains_a_step_in_xmoco(name, channels, is_map, grouped):
    config = backbone_config(name, 64, 1)
    outputs = probe(config, 64)
    assert outputs[:3] == (channels, is_map, grouped)
    assert outputs.fixable == (name not in ("vit-small", "convnext:atto"))
    settings = dict(channels_last=grouped, norm_eval=outputs.fixable)
    choices = Choices(name, 64, batch_size=4, queue_len=4, **settings)
    model = model_config(choices, outputs)
    for part in (model["neck"], model["head"].get("head", {}).get("predictor", {})):
        if "hid_channels" in part:
            part["hid_channels"] = 16
    model = MODELS.build(model).train()
    norms = [m for e in (model.backbone, model.encoder_k) for m in e.modules()] if is_map else []
    norms = [m for m in norms if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert bool(norms) == outputs.fixable
    assert not any(norm.training or isinstance(norm, SplitBN) for norm in norms)
    kernels = [p for p in model.backbone.parameters() if p.ndim == 4 and p.shape[2] > 1]
    laid = {p.is_contiguous(memory_format=torch.channels_last) for p in kernels if p.shape[1] > 1}
    assert laid == {grouped}  # one channel, or 1 x 1, is both
    losses = model.loss([torch.randn(4, 3, 64, 64) for _ in range(2)], None)
    total = sum(value for key, value in losses.items() if "loss" in key)
    total.backward()
    assert torch.isfinite(total)
    gradients = [p.grad for p in model.backbone.parameters() if p.grad is not None]
    assert any(bool(g.abs().sum() > 0) for g in gradients)


def test_every_architecture_that_weights_are_exchanged_of_is_a_model():
    for family in FAMILIES:
        for value, *_ in family.members:
            config = backbone_config(f"{family.kind}:{value}", 224, 1)
            config.pop("drop_path_rate", None)
            assert config == {"type": family.kind, family.setting: value}
    with torch.device("meta"):
        for name in ("DenseNet:121", "MobileNetV2:1.4", "ShuffleNetV2:0.5", "repvgg:a0"):
            MODELS.build(backbone_config(name, 64, 1))


def test_windows_larger_than_the_maps_of_small_views_are_padded_and_no_others():
    assert probe(backbone_config("SwinTransformer:tiny", 64, 1), 64)[:2] == (768, True)
    assert "pad_small_map" not in backbone_config("SwinTransformer:tiny", 224, 1)


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(PretrainError, match=r"resnet51: mmpretrain has no such .*resnet50"):
        backbone_config("resnet51", 64, 1)


def test_a_backbone_that_does_not_take_the_images_is_named_with_its_reason():
    with pytest.raises(PretrainError, match=r"ResNet does not take images of 3 channels and 64 px"):
        probe(dict(type="ResNet", depth=18, in_channels=4), 64)


def test_a_backbone_that_lacks_its_depth_is_told_how_to_name_it():
    with pytest.raises(PretrainError, match=r"cannot be built.*depth.*--model VGG:NUMBER"):
        probe(backbone_config("VGG", 64, 1), 64)


def test_a_backbone_with_several_outputs_is_refused_by_their_shapes():
    with pytest.raises(PretrainError, match=r"where one map"):
        probe(dict(type="ResNet", depth=18, out_indices=(2, 3)), 64)


@MODELS.register_module(force=True)
class OneLayer(nn.Module):
    """A layer whose backward pass keeps its input, and nothing else."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3 * 8 * 8, 5, bias=False)

    def loss(self, inputs, data_samples):
        return dict(loss=sum(self.layer(view.flatten(1)).sum() for view in inputs))


def test_the_memory_of_a_step_is_what_the_backward_pass_keeps():
    cost = measure_step(dict(type="OneLayer"), 8, torch.device("cpu"), batch=4)
    view = 3 * 8 * 8
    # Kept: both views in float32. Beside it, both views as bytes and as float32.
    assert cost.per_image == 2 * view * 4 + 2 * view * 5
    assert cost.fixed == 4 * view * 5 * 4  # weights, gradient, two moments
    assert cost.checkpoint == 3 * view * 5 * 4
    assert cost.largest_batch(cost.fixed + 7.9 * cost.per_image) == 7
    assert cost.largest_batch(10) == 0


def test_a_real_step_costs_in_proportion_to_the_area():
    model = model_config(
        Choices("resnet18", 64, queue_len=4), probe(backbone_config("resnet18", 64, 1), 64)
    )
    small, large = (measure_step(model, size, torch.device("cpu"), 4) for size in (32, 64))
    assert large.per_image / small.per_image == pytest.approx(4, rel=0.1)
    assert large.fixed == small.fixed


@pytest.mark.parametrize(
    ("name", "slow"), [("MobileNetV3:small_050", 0.01), ("resnet18", None), ("MobileNetV2", None)]
)
def test_averages_of_norms_that_follow_slowly_are_set_and_nothing_else_of_the_norm(name, slow):
    outputs = probe(backbone_config(name, 64, 1), 64)
    assert outputs.slow == slow
    if slow is None:
        return
    choices = Choices(name, 64, batch_size=4, queue_len=4, norm_momentum=0.1)
    built = MODELS.build(model_config(choices, outputs))
    norms = [m for m in built.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.1, 0.001)}
