# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What masks hold is said before training, as mmseg sees it; what cannot be right is refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from PIL import Image

from xmoco_plugin.downstream import DownstreamError, TrainingSet, leaf_datasets, prepare
from xmoco_plugin.downstream.mask_survey import read_labels
from xmoco_plugin.downstream.pixels import check_whole, survey_pixels
from xmoco_plugin.findings import Finding, table
from xmoco_plugin.untrusted import guard_reading

from .hosts import needs_mmseg
from .test_prepare import config

SIZE = (12, 8)


def pair(root: Path, stage: str, name: str, values, ending=".jpg", size=SIZE, **image) -> None:
    """An image and a mask of stripes of these values."""
    for folder in ("img_dir", "ann_dir"):
        (root / folder / stage).mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", SIZE, (90, 20, 30))
    picture.save(root / "img_dir" / stage / f"{name}{ending}", format="JPEG", **image)
    mask = np.resize(np.array(values, np.uint8), size[::-1])
    Image.fromarray(mask).save(root / "ann_dir" / stage / f"{name}.png")


def folder(root: Path, values=(0, 1), classes=("land", "water"), **extra) -> Path:
    for stage in ("train", "val"):
        for name in ("a", "b"):
            pair(root, stage, name, values)
    (root / "classes.json").write_text(json.dumps(dict(classes=classes, **extra)))
    return root


def ready(root: Path, **dataset) -> tuple[Config, list[Finding]]:
    cfg = config("segmentation/fcn_r18_small_scratch.py", root)
    for stage in ("train", "val", "test"):
        cfg[f"{stage}_dataloader"].dataset.update(dataset)
    return cfg, prepare(cfg)


@needs_mmseg
def test_pairs_and_shares_of_classes_are_counted(tmp_path):
    _, found = ready(folder(tmp_path, values=(0, 0, 0, 1)))
    assert table(found).splitlines() == [
        "ok    train    2 pairs; 2 classes: land 75.0 %, water 25.0 %",
        "ok    train    values of 2 images: 20 to 90 of 255, mean 47",
        "ok    val      2 pairs; 2 classes: land 75.0 %, water 25.0 %",
        "ok    val      values of 2 images: 20 to 90 of 255, mean 47",
    ]


@needs_mmseg
def test_masks_of_0_and_255_are_refused_where_one_class_alone_is_left(tmp_path):
    message = "water has none; 255, 50.0 % of the pixels, is ignored. .* from 0 to 1"
    with pytest.raises(DownstreamError, match=message):
        ready(folder(tmp_path, values=(0, 255)))


@needs_mmseg
def test_a_class_without_a_pixel_and_what_is_ignored_are_said(tmp_path):
    _, found = ready(folder(tmp_path, values=(0, 1, 255, 255), classes=("a", "b", "c")))
    assert "note  train    class 'c' has no pixel" in table(found)
    assert "note  train    255, 50.0 % of the pixels, is ignored" in table(found)


@needs_mmseg
@pytest.mark.parametrize("by_file", [True, False])
def test_with_reduce_zero_label_the_check_sees_what_the_host_sees(tmp_path, by_file):
    extra = dict(reduce_zero_label=True) if by_file else {}
    folder(tmp_path, values=(0, 1, 2, 3), classes=("x", "y", "z"), **extra)
    cfg, found = ready(tmp_path, **({} if by_file else dict(reduce_zero_label=True)))
    assert "3 classes: x 25.0 %, y 25.0 %, z 25.0 %" in table(found)
    assert "255, 25.0 % of the pixels, is ignored" in table(found)
    assert cfg.test_dataloader.dataset.reduce_zero_label is True
    from mmseg.datasets.transforms import LoadAnnotations

    mask = tmp_path / "ann_dir/train/a.png"
    sample = dict(seg_map_path=str(mask), reduce_zero_label=True, seg_fields=[])
    host = LoadAnnotations().transform(sample)["gt_seg_map"]
    values, counts = np.unique(host, return_counts=True)
    ours = read_labels([mask], reduce_zero=True).pixels
    assert ours == dict(zip(values.tolist(), counts.tolist(), strict=True))
    data = TrainingSet.read(next(leaf_datasets(cfg.train_dataloader.dataset)))
    assert data.counts([0, 1]) == dict(x=2, y=2, z=2)


@needs_mmseg
def test_a_mask_of_another_size_is_named_before_training(tmp_path):
    folder(tmp_path)
    pair(tmp_path, "val", "b", (0, 1), size=(6, 4))
    message = r"1 of 2 masks have another .*val/b\.png: 6x4 px, and .*val/b\.jpg is 12x8 px"
    with pytest.raises(DownstreamError, match=message):
        ready(tmp_path)


@needs_mmseg
def test_an_image_that_exif_turns_needs_a_mask_that_is_turned(tmp_path):
    folder(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    pair(tmp_path, "train", "b", (0, 1), exif=exif)
    with pytest.raises(DownstreamError, match=r"b\.png: 12x8 px, and .*b\.jpg is 8x12 px"):
        ready(tmp_path)
    pair(tmp_path, "train", "b", (0, 1), exif=exif, size=SIZE[::-1])
    ready(tmp_path)


@needs_mmseg
def test_what_has_no_partner_or_another_ending_is_counted_and_named(tmp_path):
    folder(tmp_path)
    pair(tmp_path, "train", "c", (0, 1), ending=".bmp")
    pair(tmp_path, "train", "d", (0, 1))
    (tmp_path / "img_dir/train/d.jpg").unlink()
    (tmp_path / "img_dir/train/.hidden.jpg").touch()
    _, found = ready(tmp_path)
    text = table(found)
    assert "1 of 3 files in" in text
    assert "left out: their names do not end in '.jpg', or another file has the" in text
    assert "name already (.bmp 1): c.bmp" in text
    assert "2 of 4 masks in" in text
    assert "have no image that is used: c.png, d.png" in text


@needs_mmseg
def test_images_and_masks_with_endings_of_another_case_are_trained_on(tmp_path):
    from mmseg.registry import DATASETS

    root = folder(tmp_path / "data")
    pair(root, "train", "c", (0, 1), ending=".JPG")
    pair(root, "train", "a", (0, 1), ending=".JPG")  # beside a.jpg, which is asked for
    mask = root / "ann_dir/train/c.png"
    mask.rename(mask.with_suffix(".PNG"))
    cfg, found = ready(root)
    text = table(found)
    assert "ok    train    3 pairs" in text
    assert (
        "note  train    1 of 3 images' names end in '.jpg' in another case: they are used" in text
    )
    assert "another file has the name already (.JPG 1): a.JPG" in text
    guard_reading(cfg.train_dataloader)
    with DefaultScope.overwrite_default_scope("mmseg"):
        data = DATASETS.build(cfg.train_dataloader.dataset)
    assert len(data) == 3
    assert [Path(data[i]["data_samples"].img_path).name for i in range(3)] == [
        "a.jpg", "b.jpg", "c.JPG"]  # fmt: skip
    assert Path(data[2]["data_samples"].seg_map_path).name == "c.PNG"
    held = TrainingSet.read(next(leaf_datasets(cfg.train_dataloader.dataset)))
    assert (held.names, len(held.held)) == (["a", "b", "c"], 3)
    assert not cfg.val_dataloader.dataset.get("ann_file")


@needs_mmseg
def test_the_host_takes_no_images_of_hidden_folders(tmp_path):
    from mmseg.registry import DATASETS

    root = folder(tmp_path / "data")
    for name in (".ipynb_checkpoints/a-checkpoint", "@eaDir/b"):
        file = root / f"img_dir/train/{name}.jpg"
        file.parent.mkdir()
        file.write_bytes((root / "img_dir/train/a.jpg").read_bytes())
    cfg, found = ready(root, pipeline=[])
    assert "note  train    2 images in hidden folders are left out: .ipynb_" in table(found)
    with DefaultScope.overwrite_default_scope("mmseg"):
        data = DATASETS.build(cfg.train_dataloader.dataset)
    assert sorted(Path(row["img_path"]).name for row in map(data.get_data_info, (0, 1))) == [
        "a.jpg", "b.jpg"]  # fmt: skip
    assert len(data) == 2
    assert len(TrainingSet.read(cfg.train_dataloader.dataset).names) == 2
    assert not cfg.val_dataloader.dataset.get("ann_file")


@needs_mmseg
def test_two_files_that_number_the_classes_in_two_ways_are_refused(tmp_path):
    folder(tmp_path / "one")
    folder(tmp_path / "two", classes=("water", "land"))
    cfg = config("segmentation/fcn_r18_small_scratch.py", tmp_path / "one")
    cfg.val_dataloader.dataset.data_root = str(tmp_path / "two")
    with pytest.raises(DownstreamError, match="A label is a number"):
        prepare(cfg)


@needs_mmseg
def test_settings_of_the_folder_that_are_none_are_named(tmp_path):
    folder(tmp_path, reduce_zero_label="yes")
    with pytest.raises(DownstreamError, match="reduce_zero_label is 'yes', not true or false"):
        ready(tmp_path)


def test_12_bits_in_16_are_dark_for_a_host_and_said(tmp_path):
    for name, top in (("a", 4095), ("b", 65535)):
        values = np.linspace(0, top, 64).astype(np.uint16).reshape(8, 8)
        Image.fromarray(values).save(tmp_path / f"{name}.png")
        host = cv2.imread(str(tmp_path / f"{name}.png"))
        assert int(host.max()) == top >> 8
    rows = table(survey_pixels(sorted(tmp_path.glob("*.png")), "train")).splitlines()
    assert rows[0].startswith("ok    train    values of 2 images: 0 to 255 of 255, mean ")
    assert rows[1].startswith("note  train    1 of 2 images are dark: no value above 31 of 255")
    assert rows[1].endswith(": a.png")


def test_images_that_a_host_cannot_read_or_reads_in_part_are_named_before_training(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    files = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.png", "d.jpg")]
    for file in files[:3]:
        Image.fromarray(pixels).save(file)
    check_whole(files[:3])
    files[1].write_bytes(files[1].read_bytes()[:-900])
    assert cv2.imread(str(files[1])) is not None  # half of it, without a word
    files[3].write_text("<html>")
    with pytest.raises(DownstreamError, match=r"2 of 4 images cannot .*b.jpg: .*d.jpg: HTML"):
        check_whole(files)


@needs_mmseg
def test_a_test_alone_has_the_classes_of_its_weights_where_its_masks_lack_the_last(tmp_path):
    pair(tmp_path, "val", "a", (0, 1))
    cfg = config("segmentation/fcn_r18_small_scratch.py", tmp_path)
    cfg.train_cfg = cfg.train_dataloader = cfg.val_dataloader = None
    cfg.load_from = str(tmp_path / "trained.pth")
    trained = dict(classes=("land", "water", "ice"), palette=[[0, 0, 0], [1, 1, 1], [2, 2, 2]])
    torch.save(dict(state_dict={}, meta=dict(dataset_meta=trained)), cfg.load_from)
    prepare(cfg)
    assert cfg.model.decode_head.num_classes == 3
    meta = cfg.test_dataloader.dataset.metainfo
    assert meta.classes == ["land", "water", "ice"]
    assert meta.palette == trained["palette"]
