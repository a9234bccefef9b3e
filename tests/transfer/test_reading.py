# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the datasets of mmdet and mmseg read is looked at before, as they are built from configs."""

import importlib
import os
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope

from xmoco_plugin.data import UnreadableImageError
from xmoco_plugin.downstream import DownstreamError, from_scratch, prepare
from xmoco_plugin.untrusted import guard_reading

from .drawn import draw
from .hosts import needs_mmdet, needs_mmseg

CONFIGS = Path(__file__).parents[2] / "configs"


def built(name: str, host: str, root: Path, strange: str):
    """The training set of a config, and an image of it that becomes a pipe once it is checked."""
    cfg = Config.fromfile(CONFIGS / name)
    for stage in ("train", "val", "test"):
        cfg[f"{stage}_dataloader"].dataset.data_root = str(draw(root) if stage == "train" else root)
    from_scratch(cfg)
    prepare(cfg)
    guard_reading(cfg.train_dataloader)
    (root / strange).unlink()
    os.mkfifo(root / strange)
    importlib.import_module(f"{host}.datasets")
    with DefaultScope.overwrite_default_scope(host):
        return importlib.import_module(f"{host}.registry").DATASETS.build(
            cfg.train_dataloader.dataset
        )


@needs_mmdet
@pytest.mark.timeout(120)
def test_a_detectors_set_names_an_image_that_is_a_pipe(tmp_path):
    name = "detection/faster-rcnn_r18-fpn_small.py"
    data = built(name, "mmdet", tmp_path / "data", "train/001.jpg")
    assert data[0]["inputs"].ndim == 3
    with pytest.raises(UnreadableImageError, match=r"001\.jpg: not a regular file: a named pipe"):
        data[1]


@needs_mmseg
@pytest.mark.timeout(120)
@pytest.mark.parametrize("strange", ["img_dir/train/001.jpg", "ann_dir/train/001.png"])
def test_a_segmentors_set_names_an_image_or_mask_that_is_a_pipe(tmp_path, strange):
    data = built("segmentation/fcn_r18_small.py", "mmseg", tmp_path / "data", strange)
    names = [os.path.basename(data.get_data_info(i)["img_path"]) for i in range(len(data))]
    if strange.startswith("img_dir"):
        assert "001.jpg" not in names, "the host itself lists regular files only"
        return
    with pytest.raises(UnreadableImageError, match=r"001\.png: not a regular file: a named pipe"):
        data[names.index("001.jpg")]


@needs_mmdet
def test_an_annotation_of_voc_that_grows_without_end_is_refused_before_the_host_parses_it(tmp_path):
    root = tmp_path / "VOC2007"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    (root / "ImageSets/Main/trainval.txt").write_text("a\n")
    (root / "JPEGImages/a.jpg").touch()
    (root / "Annotations/a.xml").write_text('<!DOCTYPE a [<!ENTITY b "bbbb">]><a>&b;</a>')
    data = dict(
        type="VOCDataset",
        data_root=str(tmp_path),
        ann_file="VOC2007/ImageSets/Main/trainval.txt",
        data_prefix=dict(sub_data_root="VOC2007/"),
        metainfo=dict(classes=("cat",)),
    )
    cfg = Config(dict(default_scope="mmdet", model=dict(), train_dataloader=dict(dataset=data)))
    with pytest.raises(DownstreamError, match=r"a\.xml: it declares a type or entities"):
        prepare(cfg)
