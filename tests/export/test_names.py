# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torchvision

from xmoco_plugin.export.names import (
    VIT_LIBRARIES,
    rename_vit,
    resnet_from_detectron2,
    resnet_to_detectron2,
)

VIT_KEYS = [
    "cls_token",
    "pos_embed",
    "patch_embed.projection.weight",
    "layers.11.ln1.bias",
    "layers.11.attn.qkv.weight",
    "layers.11.attn.proj.bias",
    "layers.11.ln2.weight",
    "layers.11.ffn.layers.0.0.weight",
    "layers.11.ffn.layers.1.bias",
    "ln1.weight",
]


@pytest.mark.parametrize("library", VIT_LIBRARIES)
def test_names_of_a_vit_come_back_and_stay_different(library):
    there = [rename_vit(key, "mmpretrain", library) for key in VIT_KEYS]
    assert len(set(there)) == len(VIT_KEYS)
    assert [rename_vit(key, library, "mmpretrain") for key in there] == VIT_KEYS


@pytest.mark.parametrize(
    ("timm", "torchvision"),
    [
        ("blocks.3.norm1.weight", "encoder.layers.encoder_layer_3.ln_1.weight"),
        ("blocks.3.attn.qkv.bias", "encoder.layers.encoder_layer_3.self_attention.in_proj_bias"),
        ("blocks.10.mlp.fc2.weight", "encoder.layers.encoder_layer_10.mlp.3.weight"),
        ("patch_embed.proj.bias", "conv_proj.bias"),
        ("norm.weight", "encoder.ln.weight"),
        ("cls_token", "class_token"),
    ],
)
def test_names_of_a_vit_in_two_libraries(timm, torchvision):
    assert rename_vit(timm, "timm", "torchvision") == torchvision
    assert rename_vit(torchvision, "torchvision", "timm") == timm


@pytest.mark.parametrize("key", ["layers.0.ffn.w12.weight", "ln2.weight", "layers.x.ln1.bias"])
def test_a_layer_that_the_others_lack_has_no_name(key):
    assert rename_vit(key, "mmpretrain", "timm") is None


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("conv1.weight", "stem.conv1.weight"),
        ("bn1.running_mean", "stem.conv1.norm.running_mean"),
        ("layer1.0.conv1.weight", "res2.0.conv1.weight"),
        ("layer1.0.bn3.running_var", "res2.0.conv3.norm.running_var"),
        ("layer4.2.bn2.bias", "res5.2.conv2.norm.bias"),
        ("layer2.0.downsample.0.weight", "res3.0.shortcut.weight"),
        ("layer2.0.downsample.1.weight", "res3.0.shortcut.norm.weight"),
    ],
)
def test_names_of_a_resnet_in_detectron2(ours, theirs):
    assert resnet_to_detectron2(ours) == theirs
    assert resnet_from_detectron2(theirs) == ours


def test_a_whole_resnet50_comes_back_from_detectron2s_names():
    keys = [k for k in torchvision.models.resnet50().state_dict() if "num_batches" not in k]
    body = [key for key in keys if not key.startswith("fc.")]
    there = [resnet_to_detectron2(key) for key in body]
    assert len(set(there)) == len(body) == 265
    assert [resnet_from_detectron2(key) for key in there] == body
    assert resnet_to_detectron2("fc.weight") is None
    assert resnet_from_detectron2("res6.0.conv1.weight") is None


def test_the_scale_of_a_layer_has_a_name_in_timm_and_none_in_torchvision():
    key = "layers.3.attn.gamma1.weight"
    assert rename_vit(key, "mmpretrain", "timm") == "blocks.3.ls1.gamma"
    assert rename_vit("blocks.3.ls2.gamma", "timm", "mmpretrain") == "layers.3.ffn.gamma2.weight"
    assert rename_vit(key, "mmpretrain", "torchvision") is None
