# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Backbones of mmdet and mmseg by their scope, what a family needs, and what is refused."""

import importlib
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

from xmoco_plugin import pretraining
from xmoco_plugin.cli.pretrain import choose
from xmoco_plugin.pretraining import (
    PretrainError,
    Scan,
    backbone_config,
    check_image_size,
    probe,
    reasons,
)

from ..transfer.hosts import needs_mmdet, needs_mmseg

DET = {"type": "mmdet.CSPNeXt", "deepen_factor": 0.167, "widen_factor": 0.375}


@needs_mmdet
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mmdet.CSPNeXt:tiny", DET | dict(norm_cfg=dict(type="BN"), out_indices=(4,))),
        (
            "mmdet.cspdarknet:S",
            dict(type="mmdet.CSPDarknet", deepen_factor=0.33, widen_factor=0.5, out_indices=(4,)),
        ),
        ("mmdet.ResNet:18", dict(type="mmdet.ResNet", depth=18, out_indices=(3,), norm_eval=False)),
        ("mmdet.EfficientNet:b0", dict(type="mmdet.EfficientNet", arch="b0")),
        (
            "mmdet.SwinTransformer",
            dict(type="mmdet.SwinTransformer", out_indices=(3,), drop_path_rate=0.0),
        ),
        ("mmpretrain.ResNetV1d:18", dict(type="ResNetV1d", depth=18)),
    ],
)
def test_a_scope_names_the_library_and_the_last_output_is_trained_on(name, expected):
    assert backbone_config(name, 64, 4) == expected


@needs_mmdet
def test_a_detector_s_backbone_gives_one_map_and_the_choices_are_said():
    config = backbone_config("mmdet.CSPNeXt:tiny", 64, 1)
    assert probe(config, 64)[:2] == (384, True)
    said = " ".join(reasons(config))
    assert "eps 1e-5" in said
    assert "a detector takes several" in said


@needs_mmseg
def test_segformer_s_backbone_has_the_heads_and_layers_of_its_size():
    config = backbone_config("mmseg.MixVisionTransformer:b1", 64, 1)
    assert (config["embed_dims"], config["num_heads"]) == (64, [1, 2, 5, 8])
    assert probe(config, 64)[:2] == (512, True)


def test_two_passes_of_one_image_in_training_are_the_same_for_query_and_key():
    config = backbone_config("SwinTransformer:tiny", 64, 1)
    assert "drop path is off" in " ".join(reasons(config))
    config["arch"] = dict(embed_dims=24, depths=[1, 1, 2, 1], num_heads=[1, 2, 4, 8])
    model, image = MODELS.build(config), torch.randn(1, 3, 64, 64)
    model.train()  # which returns None in many of them
    assert torch.equal(model(image)[0], model(image)[0])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("foo.CSPNeXt", r"foo is no library whose backbones are known: mmpretrain, mmdet, mmseg"),
        ("mmdt.CSPNeXt", r"mmdt is no library .* Nearest: mmdet\."),
        ("CSPNeXt:tiny", r"mmpretrain has no such backbone\. Nearest: mmdet\.CSPNeXt, "),
        ("ConvNeXt:titanic", r"ConvNeXt has no titanic\. There are atto, femto, .*tiny"),
        ("ConvNeXt:tinny", r"ConvNeXt has no tinny\. Nearest: tiny\. There are atto"),
        ("VGG:12", r"VGG has no 12\..* There are 11, 13, 16, 19"),
        pytest.param(
            "mmdet.CSPNext2",
            r"mmdet has no such backbone\. Nearest: mmdet\.CSPNeXt.*There are CSPDarknet, CSPNeXt,",
            marks=needs_mmdet,
        ),
        pytest.param(
            "mmdet.CSPNeXt:huge",
            r"mmdet\.CSPNeXt has no huge\. There are tiny, s, m, l, x\.",
            marks=needs_mmdet,
        ),
    ],
)
def test_what_there_is_not_is_answered_with_what_there_is(name, message):
    with pytest.raises(PretrainError, match=f"^--model {name}: {message}"):
        backbone_config(name, 64, 1)


def test_a_library_that_cannot_be_imported_is_named_with_what_brings_it(monkeypatch):
    real = importlib.import_module

    def without(name, *rest):
        if name.startswith("mmdet"):
            raise ModuleNotFoundError("No module named 'mmdet'")
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", without)
    with pytest.raises(PretrainError, match=r"mmdet.* is not installed here .*make setup-transfer"):
        backbone_config("mmdet.CSPNeXt:tiny", 64, 1)


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("SwinTransformer:tiny", 100, r"patches of 4 px, doubled 3 times, .* of 32: 96 or 128\."),
        ("ConvNeXt:tiny", 80, r"a multiple of 32: 64 or 96\."),
        ("vit-small", 100, r"patches of 16 px, .* a multiple of 16: 96 or 112\."),
        ("VisionTransformer:deit-small", 40, r"a multiple of 16: 32 or 48\."),
    ],
)
def test_a_size_that_patches_do_not_divide_is_refused_with_the_nearest_that_fit(
    name, size, message
):
    with pytest.raises(PretrainError, match=f"^--image-size {size}: .*{message}"):
        check_image_size(name, size)
    check_image_size(name, 96)
    check_image_size("resnet18", size)  # pads as it goes


@needs_mmdet
@pytest.mark.parametrize("init", [None, "weights.pth"])
def test_what_is_said_of_batchnorm_is_what_is_built(tmp_path, monkeypatch, init):
    cost = dict(per_image=1.0, seconds_per_image=1.0, checkpoint=1, largest_batch=lambda _: 64)
    monkeypatch.setattr(pretraining, "measure_step", lambda *_: SimpleNamespace(**cost))
    found = Scan(["x.png"] * 64, sides=np.full((64, 2), 64))
    args = Namespace(model="mmdet.ResNet:18", init=init, offered=None, teacher=None)
    chosen, _, notes = choose(args, {}, found, tmp_path)
    assert chosen.norm_eval == bool(init)
    assert ("BatchNorm follows the batches" in "\n".join(notes)) == (not init)
