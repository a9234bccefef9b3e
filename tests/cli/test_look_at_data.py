# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""`xmoco doctor --data`: what training would see of a folder, for whatever stage it is laid out."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xmoco_plugin.cli import look_at_data, options
from xmoco_plugin.findings import Finding, table

from ..data.tiffs import noise, write
from ..pretraining import folder
from ..transfer.drawn import draw, edit
from ..transfer.test_voc_survey import draw_voc


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """Boxes in COCO format and masks in mmseg's layout, of the same images."""
    return draw(tmp_path_factory.mktemp("drawn") / "data", train=3, val=2)


def rows(data: Path, capsys, out: Path | None = None) -> tuple[str, int]:
    """What is printed, and the exit status."""
    words = ["--data", str(data), *(["--out", str(out)] if out else [])]
    status = 0
    try:
        look_at_data.main(options.parse("doctor", words, "xmoco doctor"))
    except SystemExit as end:
        status = int(end.code or 0)
    return capsys.readouterr().out, status


def test_images_are_scanned_as_by_pretrain(tmp_path, capsys):
    folder.draw(tmp_path / "photos", 9)
    (tmp_path / "photos/notes.txt").write_text("x")
    (tmp_path / "photos/bad.png").write_bytes(b"")
    text, status = rows(tmp_path / "photos", capsys, tmp_path / "out")
    assert status == 0
    assert "images: 9 readable, 1 unreadable" in text
    assert "no images: 1 file: .txt 1" in text
    assert "note  images   1 file cannot be read" in text
    assert "bad.png: the file is empty (0 bytes)" in (tmp_path / "out/data.txt").read_text()
    assert not list((tmp_path / "photos").glob("*.jsonl"))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["data.txt"]


def test_many_channels_are_looked_at_as_by_pretrain(tmp_path, capsys):
    (tmp_path / "scenes").mkdir()
    for number in range(9):
        pixels = noise(40, 40, 5, "uint16", number) * 8
        write(tmp_path / f"scenes/{number}.tif", pixels, photometric="minisblack")
    text, status = rows(tmp_path / "scenes", capsys)
    assert (status, "channels: 5 of uint16, values 0 to 1992" in text) == (0, True)
    Image.fromarray(noise(40, 40, 3)).save(tmp_path / "scenes/x.png")
    text, status = rows(tmp_path / "scenes", capsys)
    assert (status, "the channels differ between the files" in text) == (1, True)


def test_json_beside_images_that_lists_none_is_no_annotation_file(tmp_path, capsys):
    folder.draw(tmp_path / "photos", 9)
    (tmp_path / "photos/metadata.json").write_text('{"source": "web"}')
    text, status = rows(tmp_path / "photos", capsys)
    assert (status, "images: 9 readable" in text) == (0, True)


def test_of_coco_s_own_folder_the_lists_of_boxes_are_taken(drawn, tmp_path, capsys):
    for part in ("train", "val"):
        (tmp_path / part).symlink_to(drawn / part)
        file = tmp_path / f"annotations/instances_{part}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text((drawn / f"annotations/{part}.json").read_text())
    (tmp_path / "annotations/captions_train.json").write_text('{"images": [1], "annotations": [1]}')
    text, status = rows(tmp_path, capsys)
    assert status == 0
    assert "note  lists    1 lists of other kinds are left: captions_train.json" in text
    assert "3 images, 6 boxes" in text


def test_too_few_images_must_be_mended(tmp_path, capsys):
    folder.draw(tmp_path / "photos", 2)
    text, status = rows(tmp_path / "photos", capsys)
    assert status == 1
    assert "MEND  images   2 readable images: contrast needs other images" in text


def test_folders_of_classes_are_counted_by_class(tmp_path, capsys):
    for name, count in (("cat", 3), ("dog", 1)):
        folder.draw(tmp_path / "labels/train" / name, count)
    folder.draw(tmp_path / "labels/val/dog", 2)
    (tmp_path / "labels/train/.ipynb_checkpoints").mkdir()
    text, status = rows(tmp_path / "labels", capsys)
    assert status == 0
    assert "ok    train    4 images; 2 classes: cat 3, dog 1" in text
    assert "ok    val      2 images; 2 classes: cat 0, dog 2" in text
    assert "note  val      no image of cat" in text
    text, _ = rows(tmp_path / "labels/train", capsys)
    assert "ok    labels   4 images; 2 classes: cat 3, dog 1" in text
    (tmp_path / "labels/val/dgo").mkdir()
    text, status = rows(tmp_path / "labels", capsys)
    assert status == 1
    assert "MEND  data     training and test set differ in their classes: cat, dgo" in text


def test_boxes_and_masks_are_looked_at_as_by_transfer(drawn, tmp_path, capsys):
    text, status = rows(drawn, capsys)  # both layouts: masks have their own names of folders
    assert status == 0
    assert "ok    train    3 pairs; 4 classes: ground" in text
    boxes = tmp_path / "boxes"
    boxes.mkdir()
    for name in ("train", "val"):
        (boxes / name).symlink_to(drawn / name)
    (boxes / "annotations").mkdir()
    for name in ("train", "val"):
        content = (drawn / "annotations" / f"{name}.json").read_text()
        (boxes / "annotations" / f"instances_{name}.json").write_text(content)
    edit(boxes / "annotations/instances_val.json", lambda c: c["categories"].reverse())
    text, status = rows(boxes, capsys)
    assert status == 0
    assert "ok    train    3 images, 6 boxes; 3 classes" in text
    assert "note  val      mended in a copy: 3 classes are listed" in text
    assert not (boxes / "annotations/val.json").exists()
    edit(boxes / "annotations/instances_val.json", lambda c: c["images"][0].update(id=1))
    text, status = rows(boxes, capsys)
    assert status == 1
    assert "MEND  val" in text
    assert "several images one id (1)" in text


def test_masks_that_cannot_be_right_must_be_mended(tmp_path, capsys):
    for stage in ("train", "val"):
        for part in ("img_dir", "ann_dir"):
            (tmp_path / part / stage).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "img_dir" / stage / "a.jpg")
        mask = np.resize(np.array([0, 255], np.uint8), (8, 8))
        Image.fromarray(mask).save(tmp_path / "ann_dir" / stage / "a.png")
    (tmp_path / "classes.json").write_text('["land", "water"]')
    text, status = rows(tmp_path, capsys)
    assert status == 1
    assert "water has none; 255, 50.0 % of the pixels, is ignored" in text


def test_arrays_are_counted_by_class_and_compared_with_train(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (4, 8, 6, 3), dtype=np.uint8)
    images[3] = images[0]
    np.savez(tmp_path / "train.npz", images=images, labels=np.array([0, 0, 2, 2]))
    np.savez(tmp_path / "test.npz", images=images // 16, labels=np.array([0, 1, 2, 2]))
    text, status = rows(tmp_path, capsys)
    assert "ok    train    4 images of 6x8 px; 3 classes: 0 2, 1 0, 2 2" in text
    assert "note  train    no image of 1 classes: 1" in text
    assert "note  train    1 of 4 images are the same as another" in text
    assert "ok    test     values: 0 to 15 of 255, mean 7" in text
    assert "note  test     4 of 4 images are dark" in text
    assert (status, "MEND  test     labels that train.npz has no image of: 1" in text) == (1, True)
    np.savez(tmp_path / "test.npz", images=images.astype(float))
    text, status = rows(tmp_path, capsys)
    assert (status, "MEND  test" in text, "must be uint8 of shape" in text) == (1, True, True)


def test_archives_that_are_no_images_beside_them_need_no_mending(tmp_path, capsys):
    images = np.zeros((4, 8, 6, 3), np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=np.array([0, 0, 1, 1]))
    np.savez(tmp_path / "features.npz", names=np.array(["a.jpg"]), features=np.zeros((1, 3)))
    text, status = rows(tmp_path, capsys)
    assert (status, "note  features" in text, "has no array 'images'" in text) == (0, True, True)
    np.savez(tmp_path / "val.npz", features=np.zeros((1, 3)))
    text, status = rows(tmp_path, capsys)
    assert (status, "MEND  val" in text) == (1, True)


def test_an_archive_is_taken_by_its_own_name(tmp_path, capsys):
    images = np.zeros((4, 8, 6, 3), np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=np.array([0, 0, 1, 1]))
    np.savez(tmp_path / "features.npz", features=np.zeros((1, 3)))
    text, status = rows(tmp_path / "train.npz", capsys)
    assert "ok    train    4 images of 6x8 px; 2 classes: 0 2, 1 2" in text
    assert (status, "features" in text) == (0, False)
    text, status = rows(tmp_path / "features.npz", capsys)
    assert (status, "MEND  features" in text, "has no array 'images'" in text) == (1, True, True)


def test_a_folder_of_voc_is_looked_at_as_by_transfer(tmp_path, capsys):
    text, status = rows(draw_voc(tmp_path / "VOC2007"), capsys)
    assert status == 0
    assert "ok    trainval 3 images, 3 boxes; 20 classes: " in text
    assert "cat 2, " in text
    assert "ok    trainval masks 3 pairs; 21 classes: background 50.0 %" in text


def test_what_is_not_there_is_named(tmp_path, capsys):
    text, status = rows(tmp_path / "gone", capsys)
    assert status == 1
    assert "there is no such file or folder" in text


def test_without_data_the_options_leave_the_machine_to_be_looked_at():
    assert options.parse("doctor", [], "x") == argparse.Namespace(data=None, out=None)


def test_a_row_shows_three_names_and_the_file_all():
    row = Finding("note", "train", "5 images have no box", tuple("abcde"))
    assert table([row]) == "note  train    5 images have no box: a, b, c and 2 more"
    assert table([row], most=None).splitlines()[1:] == [f"{'':<15}{name}" for name in "abcde"]
