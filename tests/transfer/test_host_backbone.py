# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Weights and the backbone that a fine-tuning's config builds: family, names, positions."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from xmoco_plugin.checkpoint import CheckpointError
from xmoco_plugin.cli import starts
from xmoco_plugin.cli.host_backbone import HostBackbone
from xmoco_plugin.export import prepare_file, read_weights
from xmoco_plugin.export.arrival import read_backbone
from xmoco_plugin.pretraining import backbone_config

from .hosts import needs_mmdet, needs_mmseg

CONFIGS = Path(__file__).parents[2] / "configs"


def saved(folder: Path, settings: dict) -> Path:
    """A backbone's random weights, as a pretraining has them."""
    state = MODELS.build(settings).state_dict()
    meta = dict(cfg=f"model = dict(type='XMoCo', backbone={settings!r})")
    file = folder / "backbone.pth"
    torch.save(dict(state_dict={f"backbone.{key}": v for key, v in state.items()}, meta=meta), file)
    return file


def config(name: str, weights: Path) -> Config:
    """A fine-tuning's config as `prepare` leaves it."""
    cfg = Config.fromfile(CONFIGS / f"{name}.py")
    cfg.pretrained = cfg.model.backbone.init_cfg.checkpoint = str(weights)
    return cfg


R18 = dict(type="ResNet", depth=18)


@needs_mmdet
@pytest.mark.parametrize(
    ("name", "built"),
    [
        ("detection/rtmdet_tiny_small", r"CSPNeXt \(arch='P5', deepen_factor=0\.167, widen_"),
        ("detection/faster-rcnn_r50-c4_24k_voc0712", r"ResNet \(depth=50\)"),
    ],
)
def test_a_detector_of_another_backbone_is_refused_with_both_names_before_training(
    name, built, tmp_path
):
    cfg = config(name, saved(tmp_path, R18))
    message = rf"backbone\.pth: the file holds the backbone ResNet \(depth=18\), and the .*{built}"
    with pytest.raises(CheckpointError, match=message):
        starts.bring(cfg, tmp_path / "run")


@needs_mmdet
def test_another_size_of_one_family_is_refused_too(tmp_path):
    weights = saved(tmp_path, backbone_config("mmdet.CSPDarknet:tiny", 64, 1))
    file = prepare_file(read_weights(weights), weights, "mmpretrain")  # by its own config
    assert file.record["architecture"] == "mmdet.CSPDarknet"
    with pytest.raises(CheckpointError, match=r"widen_factor=0\.375\), and .*widen_factor=0\.5\)"):
        starts.bring(config("detection/yolox_s_small", weights), tmp_path / "run")


@needs_mmdet
def test_what_the_arrival_hook_ignores_may_be_missing(tmp_path):
    weights = saved(tmp_path, R18)
    state = torch.load(weights, weights_only=True)
    del state["state_dict"]["backbone.layer4.1.bn2.weight"]
    torch.save(state, weights)
    cfg = config("detection/faster-rcnn_r18-fpn_small", weights)
    with pytest.raises(CheckpointError, match=r"1 of 10\d weights .* such as layer4\.1\.bn2"):
        starts.bring(cfg, tmp_path / "run")
    cfg.custom_hooks[0].ignore = ["bn2"]
    starts.bring(cfg, tmp_path / "run")


@needs_mmseg
@needs_mmdet
@pytest.mark.parametrize(
    ("name", "size"),
    [("detection/faster-rcnn_vit-s_small", 64), ("segmentation/upernet_vit-s_small", (64, 64))],
)
def test_a_vit_is_built_for_the_positions_of_its_weights_in_the_names_of_its_host(
    name, size, tmp_path
):
    cfg = config(name, saved(tmp_path, backbone_config("vit-small", 64, 1)))
    starts.bring(cfg, tmp_path / "run")
    assert cfg.model.backbone.img_size == size
    init = cfg.model.backbone.init_cfg
    given = read_backbone(init.checkpoint, init.prefix)[1]
    built = HostBackbone.of(cfg)
    assert {k: v.shape for k, v in built.state.items()} == {k: v.shape for k, v in given.items()}
    assert built.in_mmseg_names == ("segmentation" in name)
    again = cfg.copy()
    starts.bring(again, tmp_path / "run")  # as the training's own process does
    assert again.model.backbone.to_dict() == cfg.model.backbone.to_dict()
