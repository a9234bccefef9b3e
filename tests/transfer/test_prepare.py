# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a config leaves open comes from the data; what does not fit is said before training."""

from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from xmoco_plugin.checkpoint import CheckpointError
from xmoco_plugin.downstream import DownstreamError, prepare

from .drawn import CLASSES, draw, edit
from .hosts import needs_mmdet, needs_mmseg

CONFIGS = Path(__file__).parents[2] / "configs"


def config(name: str, root: Path, checkpoint: Path | None = None) -> Config:
    cfg = Config.fromfile(CONFIGS / name)
    for stage in ("train", "val", "test"):
        cfg[f"{stage}_dataloader"].dataset.data_root = str(root)
    if checkpoint is not None:
        torch.save({"backbone.conv1.weight": torch.zeros(1)}, checkpoint)
        cfg.pretrained = str(checkpoint)
    return cfg


@pytest.fixture
def data(tmp_path) -> Path:
    return draw(tmp_path / "data", train=3, val=2)


@pytest.fixture
def detection(data, tmp_path) -> Config:
    pytest.importorskip("mmdet")
    return config("detection/faster-rcnn_r18-fpn_small.py", data, tmp_path / "p.pth")


@pytest.fixture
def segmentation(data, tmp_path) -> Config:
    pytest.importorskip("mmseg")
    return config("segmentation/fcn_r18_small.py", data, tmp_path / "p.pth")


def test_a_pretraining_config_is_left_as_it_is():
    cfg = Config.fromfile(CONFIGS / "xmoco_r50_8xb32.py")
    before = cfg.to_dict()
    prepare(cfg)
    assert cfg.to_dict() == before


@needs_mmdet
def test_detection_takes_classes_checkpoint_and_annotations_from_where_they_are(
    detection, data, tmp_path
):
    prepare(detection)
    assert detection.model.roi_head.bbox_head.num_classes == len(CLASSES)
    for stage in ("train", "val", "test"):
        assert detection[f"{stage}_dataloader"].dataset.metainfo.classes == CLASSES
    assert detection.val_evaluator.ann_file == str(data / "annotations/val.json")
    assert detection.model.backbone.init_cfg.checkpoint == str(tmp_path / "p.pth")


@needs_mmdet
def test_some_of_the_classes_can_be_asked_for_and_an_unknown_one_is_named(detection):
    detection.class_names = ["disc", "square"]
    prepare(detection)
    assert detection.model.roi_head.bbox_head.num_classes == 2
    detection.class_names = ["disc", "star"]
    with pytest.raises(DownstreamError, match=r"class lists differ: .*does not have star"):
        prepare(detection)


@needs_mmdet
def test_other_classes_in_the_validation_file_are_an_error_that_names_both(detection, data):
    edit(data / "annotations/val.json", lambda c: c["categories"][2].update(name="cone"))
    with pytest.raises(DownstreamError, match=r"class lists differ: .*val\.json.*triangle"):
        prepare(detection)
    edit(data / "annotations/val.json", lambda c: c["categories"][2].update(name="triangle"))
    edit(data / "annotations/val.json", lambda c: c["categories"].append(dict(id=9, name="cone")))
    with pytest.raises(DownstreamError, match=r"class lists differ: .*cone"):
        prepare(detection)


@needs_mmdet
def test_missing_images_are_found_before_training(detection, data):
    (data / "val/000.jpg").unlink()
    with pytest.raises(DownstreamError, match=r"val\.json names 1 of 2 images"):
        prepare(detection)


@needs_mmdet
def test_a_head_of_another_size_than_the_dataset_is_refused(data, tmp_path):
    cfg = config("detection/mask-rcnn_r50-fpn_1x_coco.py", data, tmp_path / "p.pth")
    for stage in ("train", "val", "test"):
        ours = cfg[f"{stage}_dataloader"].dataset
        ours.ann_file = "annotations/train.json"
        ours.data_prefix.img = "train/"
        ours.metainfo = dict(classes=CLASSES)
    with pytest.raises(DownstreamError, match=r"dataset has 3 classes and .* is set to 80"):
        prepare(cfg)


@needs_mmdet
def test_no_checkpoint_a_missing_one_and_one_with_code_are_told_apart(detection, tmp_path):
    detection.pretrained = ""
    with pytest.raises(DownstreamError, match="no pretraining checkpoint is named"):
        prepare(detection)
    detection.pretrained = str(tmp_path / "absent.pth")
    with pytest.raises(DownstreamError, match=r"there is no pretraining checkpoint .*absent"):
        prepare(detection)
    detection.pretrained = str(tmp_path / "code.pth")
    detection.model.backbone.init_cfg.checkpoint = ""
    torch.save({"backbone.x": Path}, tmp_path / "code.pth")
    with pytest.raises(CheckpointError):
        prepare(detection)


@needs_mmseg
def test_segmentation_takes_its_classes_from_the_file_or_from_the_masks(segmentation, data):
    prepare(segmentation)
    assert segmentation.model.decode_head.num_classes == 1 + len(CLASSES)
    assert segmentation.model.auxiliary_head.num_classes == 1 + len(CLASSES)
    assert segmentation.val_dataloader.dataset.metainfo.classes[0] == "ground"
    (data / "classes.json").unlink()
    Image.fromarray(np.full((96, 96), 5, np.uint8)).save(data / "ann_dir/train/000.png")
    prepare(segmentation)
    assert segmentation.model.decode_head.num_classes == 6


@needs_mmseg
def test_a_mask_value_beyond_the_classes_is_named_with_its_file(segmentation, data):
    Image.fromarray(np.full((96, 96), 7, np.uint8)).save(data / "ann_dir/val/000.png")
    with pytest.raises(DownstreamError, match=r"000\.png has the value 7, and there are 4 classes"):
        prepare(segmentation)
