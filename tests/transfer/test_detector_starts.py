# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a fine-tuning starts from: of a detector's file the backbone; how it got its images."""

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ResNet

from xmoco_plugin.checkpoint import CheckpointError
from xmoco_plugin.cli.detector_starts import bring_all

HEADS = {"neck.fpn.weight": torch.ones(2, 2), "bbox_head.cls.weight": torch.ones(2, 2)}
RGB = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)


def config(file: str) -> Config:
    init = dict(type="Pretrained", checkpoint=file, prefix="backbone.")
    backbone = dict(type="ResNet", depth=18, init_cfg=init)
    model = dict(type="RetinaNet", backbone=backbone, data_preprocessor=RGB)
    return Config(dict(pretrained=file, train_cfg=dict(max_iters=1), model=model))


def detector(tmp_path, body: dict, **meta) -> str:
    state = {f"backbone.{key}": value for key, value in body.items()} | HEADS
    torch.save(dict(state_dict=state, meta=meta), tmp_path / "coco.pth")
    return str(tmp_path / "coco.pth")


def test_of_a_detectors_file_the_backbone_is_written_once_and_what_is_left_out_is_said(
    tmp_path, capsys
):
    body = ResNet(18, base_channels=8, stem_channels=8).state_dict()
    cfg = config(detector(tmp_path, body))
    bring_all([cfg, cfg], tmp_path / "work")
    init = cfg.model.backbone.init_cfg
    written = torch.load(init.checkpoint, weights_only=True)["state_dict"]
    assert init.prefix == "backbone."
    assert set(written) == {f"backbone.{key}" for key in body}
    assert all(torch.equal(written[f"backbone.{key}"], value) for key, value in body.items())
    said = capsys.readouterr().out
    assert "coco.pth: its backbone, keys backbone.*, is in mmpretrain's names in" in said
    assert "of a detector or segmentor; left out: bbox_head 1 tensor, neck 1 tensor" in said
    assert "warning" not in said


def test_a_backbone_of_any_family_is_taken_whole_from_where_detectors_have_it(tmp_path):
    body = {"stem.0.conv.weight": torch.rand(4, 3, 3, 3), "stage1.0.conv.weight": torch.rand(4, 4)}
    cfg = config(detector(tmp_path, body))
    bring_all([cfg], tmp_path / "work")
    written = torch.load(cfg.model.backbone.init_cfg.checkpoint, weights_only=True)["state_dict"]
    assert set(written) == {f"backbone.{key}" for key in body}


def test_weights_of_a_network_that_got_its_images_otherwise_are_warned_of_once(tmp_path, capsys):
    body = ResNet(18, base_channels=8, stem_channels=8).state_dict()
    bgr = "model = dict(data_preprocessor=dict(mean=[1, 2, 3], std=[4, 5, 6], bgr_to_rgb=False))"
    file = detector(tmp_path, body, cfg=bgr)
    bring_all([config(file), config(file)], tmp_path / "work")
    said = capsys.readouterr().out
    assert said.count("warning: ") == 1
    assert "got its images as BGR, mean 1 2 3, std 4 5 6, this config gives them as RGB" in said


def test_a_detectors_file_without_a_backbone_is_refused(tmp_path):
    file = tmp_path / "heads.pth"
    torch.save(dict(state_dict=HEADS), file)
    with pytest.raises(CheckpointError, match=r"heads.pth: .* without a backbone"):
        bring_all([config(str(file))], tmp_path / "work")
