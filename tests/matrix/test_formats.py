# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every form of weights that a tool writes is read by those that use weights, at the same size."""

import argparse

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.cli import backbones, starts
from xmoco_plugin.export import TARGETS, prepare_file, training_views
from xmoco_plugin.pretraining import Choices
from xmoco_plugin.pretraining.backbones import Outputs
from xmoco_plugin.pretraining.first_weights import first_weights

from ..export.backbones import needs, xmoco

R18 = dict(type="ResNet", depth=18)
SETTINGS = dict(
    model=dict(type="XMoCo", backbone=R18, neck=dict(type="MoCoV2Neck", in_channels=8,
        hid_channels=8, out_channels=4), head=dict(type="XMoCoHead", temperature=0.2,
        consistency=dict(), uniformity=dict()), queue_len=8, feat_dim=4),
    data_preprocessor=dict(type="SelfSupDataPreprocessor", mean=[1.0, 2.0, 3.0], std=[4.0] * 3,
        to_rgb=True),
    train_dataloader=dict(dataset=dict(type="ListedImages", pipeline=[
        dict(type="TwoViews", views=dict(recipe="mocov2", size=48))])),
)  # fmt: skip


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """Files by form: a training's checkpoint, what it exports, and what export makes of that."""
    needs("safetensors")
    folder = tmp_path_factory.mktemp("forms")
    meta = dict(cfg=Config(SETTINGS).pretty_text, epoch=1, iter=4)
    checkpoint = dict(state_dict=xmoco(R18).state_dict(), meta=meta)
    files = {"training": folder / "epoch_1.pth"}
    torch.save(checkpoint, files["training"])
    for target in TARGETS:
        ending = "safetensors" if target == "safetensors" else "pth"
        files[target] = folder / f"{target}.{ending}"
        prepare_file(checkpoint, files["training"], target).write(files[target])
    files["export of an export"] = folder / "again.pth"
    stored = read_checkpoint(files["safetensors"])
    prepare_file(stored, files["safetensors"], "mmpretrain").write(files["export of an export"])
    return files


FORMS = ("training", *TARGETS, "export of an export")


@pytest.mark.parametrize("form", FORMS)
def test_size_mean_and_deviation_of_the_training_come_with_every_form(forms, form):
    views = training_views(read_checkpoint(forms[form]))
    assert views == dict(image_size=48, mean=[1.0, 2.0, 3.0], std=[4.0] * 3, channels="RGB")


@pytest.mark.parametrize("form", FORMS)
def test_a_model_is_built_of_every_form_with_its_weights_and_size(forms, form):
    args = argparse.Namespace(
        checkpoint=str(forms[form]), config=None, cfg_options=None, image_size=None
    )
    cfg = backbones.load_config(args)
    assert backbones.image_size(args, cfg)[0] == 48
    model = backbones.build(cfg, args.checkpoint)
    wanted = read_checkpoint(forms["training"])["state_dict"]
    found = model.state_dict()
    for key in found:
        if key.startswith("backbone.") and "num_batches" not in key:
            assert torch.equal(found[key], wanted[key]), key
    assert model.data_preprocessor.mean.flatten().tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize("form", FORMS)
def test_a_fine_tuning_starts_from_every_form(forms, form, tmp_path, capsys):
    init = dict(type="Pretrained", checkpoint=str(forms[form]), prefix="backbone.")
    cfg = Config(
        dict(
            pretrained=str(forms[form]),
            train_cfg=dict(max_iters=1),
            model=dict(backbone=dict(R18, init_cfg=init)),
        )
    )
    starts.bring(cfg, tmp_path / "run")
    backbone = MODELS.build(cfg.model.backbone)
    backbone.init_weights()
    wanted = read_checkpoint(forms["training"])["state_dict"]
    assert torch.equal(backbone.conv1.weight, wanted["backbone.conv1.weight"])
    assert torch.equal(backbone.layer4[1].bn2.bias, wanted["backbone.layer4.1.bn2.bias"])
    as_it_is = form in ("training", "mmpretrain", "export of an export")
    assert ("in mmpretrain's names" in capsys.readouterr().out) == (not as_it_is)


@pytest.mark.parametrize("form", ["safetensors", "detectron2", "key"])
def test_a_pretraining_starts_from_every_form(forms, form, tmp_path):
    source = forms.get(form)
    if form == "key":
        source = tmp_path / "compiled.pth"
        state = read_checkpoint(forms["training"])["state_dict"]
        torch.save({f"module._orig_mod.{k}": v for k, v in state.items()}, source)
    choices = Choices("resnet18", 48, batch_size=4, queue_len=4)
    made = read_checkpoint(first_weights(str(source), choices, Outputs(512, True), tmp_path))
    wanted = read_checkpoint(forms["training"])["state_dict"]
    for prefix in ("backbone.", "encoder_k.module.0."):
        found = made["state_dict"][f"{prefix}layer1.0.conv1.weight"]
        assert torch.equal(found, wanted["backbone.layer1.0.conv1.weight"])


def test_an_older_export_without_a_size_takes_that_of_the_config_beside_it(forms, tmp_path):
    stored = read_checkpoint(forms["mmpretrain"])
    stored["meta"].pop("image_size")
    torch.save(stored, tmp_path / "backbone.pth")
    assert backbones.recorded_size(str(tmp_path / "backbone.pth")) is None
    (tmp_path / "config.py").write_text(Config(SETTINGS).pretty_text)
    assert backbones.recorded_size(str(tmp_path / "backbone.pth")) == 48
