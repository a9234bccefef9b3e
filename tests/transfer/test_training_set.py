# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The labelled images of a set, and the file that names a part of them."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import ConfigDict
from PIL import Image

from xmoco_plugin.downstream import DownstreamError, TrainingSet

from .drawn import CLASSES, draw, edit
from .hosts import needs_mmseg


def boxes(root: Path, **settings) -> TrainingSet:
    data = dict(type="CocoDataset", data_root=str(root), ann_file="annotations/train.json")
    return TrainingSet.read(ConfigDict({**data, "data_prefix": dict(img="train"), **settings}))


def masks(root: Path, **settings) -> TrainingSet:
    data = dict(
        type="BaseSegDataset",
        data_root=str(root),
        data_prefix=dict(img_path="img_dir/train", seg_map_path="ann_dir/train"),
        metainfo=dict(classes=["ground", *CLASSES]),
    )
    return TrainingSet.read(ConfigDict({**data, **settings}))


@pytest.fixture
def data(tmp_path) -> Path:
    return draw(tmp_path / "data", train=6, val=2)


def test_a_part_in_coco_format_has_the_annotations_of_exactly_its_images_and_every_category(data):
    whole = json.loads((data / "annotations/train.json").read_text())
    found = boxes(data)
    part = json.loads(found.part([1, 4]))
    assert [image["id"] for image in part["images"]] == [1, 4]
    wanted = [a for a in whole["annotations"] if a["image_id"] in (1, 4)]
    assert len(wanted) == 4
    assert part["annotations"] == wanted
    assert part["categories"] == whole["categories"]
    (data / "annotations/part.json").write_text(found.part([1, 4]))
    again = boxes(data, ann_file="annotations/part.json")
    assert again.names == ["001.jpg", "004.jpg"]
    assert again.classes == list(CLASSES)


def test_other_parts_of_the_file_are_kept_and_the_file_is_not_touched(data):
    edit(data / "annotations/train.json", lambda c: c.update(info=dict(year=2026)))
    before = (data / "annotations/train.json").read_bytes()
    assert json.loads(boxes(data).part([0]))["info"] == dict(year=2026)
    assert (data / "annotations/train.json").read_bytes() == before


def test_classes_are_counted_in_boxes_with_an_area_that_are_no_crowd(data):
    def change(content):
        first = [a for a in content["annotations"] if a["image_id"] == 0]
        for a in first:
            a["category_id"] = 2
        first[1]["iscrowd"] = 1
        content["annotations"].append({**first[0], "id": 99, "bbox": [0, 0, 0, 5]})

    edit(data / "annotations/train.json", change)
    assert boxes(data).counts([0]) == {"square": 0, "disc": 1, "triangle": 0}
    assert boxes(data, metainfo=dict(classes=["disc"])).counts([0]) == {"disc": 1}


@needs_mmseg
def test_a_part_of_a_mask_folder_is_a_list_of_names_without_their_endings(data):
    found = masks(data)
    assert found.part([0, 3]) == "000\n003\n"
    assert found.suffix == ".txt"
    mask = np.asarray(Image.open(data / "ann_dir/train/003.png"))
    assert found.counts([3]) == {
        name: int((mask == value).any()) for value, name in enumerate(("ground", *CLASSES))
    }


@needs_mmseg
def test_a_list_of_mmseg_says_which_images_there_are(data):
    (data / "list.txt").write_text("004\n001\n\n")
    found = masks(data, ann_file="list.txt")
    assert found.names == ["004", "001"]
    assert found.part([1]) == "001\n"


@needs_mmseg
def test_nested_folders_and_a_label_0_that_is_left_out(data):
    for kind, suffix in (("img_dir", "jpg"), ("ann_dir", "png")):
        (data / kind / "train/a").mkdir()
        old = data / kind / f"train/005.{suffix}"
        old.rename(data / kind / f"train/a/b.{suffix}")
    Image.fromarray(np.array([[0, 0], [1, 3]], np.uint8)).save(data / "ann_dir/train/a/b.png")
    found = masks(data, reduce_zero_label=True, metainfo=dict(classes=CLASSES))
    assert sorted(found.names)[-1] == "a/b"
    assert found.counts([found.names.index("a/b")]) == {"square": 1, "disc": 0, "triangle": 1}


def test_what_is_neither_coco_nor_masks_is_refused_by_name(data):
    (data / "list.txt").write_text("000\n")
    with pytest.raises(DownstreamError, match=r"CocoDataset reads .*list\.txt: a share can be"):
        boxes(data, ann_file="list.txt")
