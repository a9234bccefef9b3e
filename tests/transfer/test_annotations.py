# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Bad annotations end in a message that says what is wrong, before anything is built."""

import os
from pathlib import Path

import pytest
from PIL import Image

from xmoco_plugin.downstream import DownstreamError, mask_folder
from xmoco_plugin.downstream.coco_annotations import (
    check_classes,
    check_images,
    check_masks,
    folder_of_images,
    read_coco,
)
from xmoco_plugin.downstream.mask_survey import read_labels

from .drawn import CLASSES, SIZE, draw, edit


@pytest.fixture
def data(tmp_path) -> Path:
    return draw(tmp_path / "data", train=3, val=1)


@pytest.fixture
def train(data) -> Path:
    return data / "annotations/train.json"


def test_a_good_file_gives_its_classes_in_the_order_of_their_ids(data, train):
    edit(train, lambda c: c["categories"].reverse())
    annotations = read_coco(train)
    assert annotations.classes == list(CLASSES)
    check_images(annotations, data / "train")
    check_classes(annotations, CLASSES)
    check_masks(annotations)


def test_missing_images_are_counted_and_the_first_named(data, train):
    (data / "train/001.jpg").unlink()
    with pytest.raises(DownstreamError, match=r"names 1 of 3 images .* 001\.jpg"):
        check_images(read_coco(train), data / "train")


def test_an_image_in_a_folder_below_is_found(data, train):
    (data / "train/deep").mkdir()
    (data / "train/001.jpg").rename(data / "train/deep/001.jpg")
    edit(train, lambda c: c["images"][1].update(file_name="deep/001.jpg"))
    check_images(read_coco(train), data / "train")


def test_a_list_without_boxes_and_boxes_without_area_are_refused(train):
    edit(train, lambda c: [a.update(bbox=[1, 1, 0, 5]) for a in c["annotations"]])
    with pytest.raises(DownstreamError, match="has no boxes: none of its 6"):
        read_coco(train)
    edit(train, lambda c: c["annotations"].clear())
    with pytest.raises(DownstreamError, match="has no boxes: its list"):
        read_coco(train)


@pytest.mark.parametrize(
    ("text", "message"),
    [("not json", "not an annotation file in JSON"), ("[1]", "no images and no annotations")],
)
def test_another_file_is_not_taken_for_annotations(train, text, message):
    train.write_text(text)
    with pytest.raises(DownstreamError, match=message):
        read_coco(train)


def test_a_category_id_without_a_name_and_a_name_given_twice_are_refused(train):
    edit(train, lambda c: c["annotations"][0].update(category_id=99))
    with pytest.raises(DownstreamError, match="category ids 99"):
        read_coco(train)
    edit(train, lambda c: c["categories"][0].update(name="disc"))
    with pytest.raises(DownstreamError, match="more than once: disc"):
        read_coco(train)


def test_a_class_that_the_file_lacks_is_named_with_those_it_has(train):
    with pytest.raises(DownstreamError, match="does not have star; it has square, disc, triangle"):
        check_classes(read_coco(train), [*CLASSES, "star"])


def test_boxes_without_masks_are_refused_for_a_mask_detector(train):
    edit(train, lambda c: c["annotations"][0].pop("segmentation"))
    with pytest.raises(DownstreamError, match="1 of 6 boxes have no segmentation"):
        check_masks(read_coco(train))


def test_masks_give_their_values_and_the_file_that_has_each(data):
    files = mask_folder.pairs(data / "img_dir/train", data / "ann_dir/train", ".jpg", ".png")
    assert len(files) == 3
    labels = read_labels([pair.mask for pair in files])
    assert 0 in labels.first
    assert max(labels.first) <= len(CLASSES)
    assert sum(labels.pixels.values()) == 3 * SIZE * SIZE


def test_an_image_without_a_mask_and_a_folder_of_another_ending_are_named(data):
    (data / "ann_dir/train/002.png").unlink()
    folders = data / "img_dir/train", data / "ann_dir/train"
    with pytest.raises(DownstreamError, match=r"1 of 3 names have no mask .* 002\.png"):
        mask_folder.pairs(*folders, ".jpg", ".png")
    with pytest.raises(DownstreamError, match=r"no file that ends in '\.tif' \(there are: \.jpg\)"):
        mask_folder.pairs(*folders, ".tif", ".png")


def test_a_mask_in_colours_is_refused(data):
    file = data / "ann_dir/train/000.png"
    Image.new("RGB", (4, 4)).save(file)
    with pytest.raises(DownstreamError, match="picture with 3 channels"):
        read_labels([file])


def test_class_names_come_from_the_file_in_the_folder(data):
    assert mask_folder.read_classes(data) == dict(classes=["ground", *CLASSES])
    (data / "classes.json").write_text('{"classes": []}')
    with pytest.raises(DownstreamError, match="names no classes"):
        mask_folder.read_classes(data)
    (data / "classes.json").unlink()
    assert mask_folder.read_classes(data) is None


FORGED = {
    "a list": (b"[]", "no images and no annotations"),
    "null": (b"null", "no images and no annotations"),
    "nested": (b'{"images": ' + b"[" * 100_000, "nested too deep"),
    "not finite": (b'{"images": [NaN]}', "NaN is not finite"),
    "a text": (
        b'{"images": "ab", "annotations": [{}], "categories": [{}]}',
        "its images are no list",
    ),
    "an object": (
        b'{"images": {"a": 1}, "annotations": [{"image_id": 1, "category_id": 1}],'
        b' "categories": [{"id": 1, "name": "a"}]}',
        "its images are no list",
    ),
    "a NUL": (
        b'{"images": [{"id": 1, "file_name": "a\\u0000.jpg"}], "annotations": [{"image_id": 1,'
        b' "category_id": 1}], "categories": [{"id": 1, "name": "a"}]}',
        "images.0. has no 'file_name'",
    ),
    "a box of texts": (
        b'{"images": [{"id": 1, "file_name": "a"}], "annotations": [{"image_id": 1, "category_id":'
        b' 1, "bbox": ["a", null, 3, []]}], "categories": [{"id": 1, "name": "a"}]}',
        "has no boxes",
    ),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_annotation_file_is_one_sentence(tmp_path, name):
    (tmp_path / "forged.json").write_bytes(FORGED[name][0])
    with pytest.raises(DownstreamError, match=FORGED[name][1]):
        read_coco(tmp_path / "forged.json")


@pytest.mark.timeout(60)
def test_what_is_no_file_is_named_before_a_host_waits_for_it(data, train):
    for file in (data / "train/001.jpg", data / "img_dir/train/001.jpg", data / "classes.json"):
        file.unlink()
        os.mkfifo(file)
    with pytest.raises(DownstreamError, match=r"names 1 of 3 .*001\.jpg \(not .* a named pipe\)"):
        check_images(read_coco(train), data / "train")
    with pytest.raises(DownstreamError, match=r"1 of the images .*001\.jpg: .* a named pipe"):
        mask_folder.pairs(data / "img_dir/train", data / "ann_dir/train", ".jpg", ".png")
    with pytest.raises(DownstreamError, match=r"classes\.json cannot be read: .*a named pipe"):
        mask_folder.read_classes(data)
    train.unlink()
    train.symlink_to("/dev/zero")
    with pytest.raises(DownstreamError, match="a device"):
        read_coco(train)


def test_a_mask_is_read_by_the_list_of_formats_only(data):
    mask = data / "ann_dir/train/001.png"
    mask.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n")
    with pytest.raises(DownstreamError, match=r"001\.png cannot be read: PostScript, not one of"):
        read_labels([mask])
    Image.new("1", (13_000, 13_000)).save(mask)
    with pytest.raises(DownstreamError, match="above the limit of 128000000 pixels"):
        read_labels([mask])


def test_hidden_images_need_no_mask_because_the_host_leaves_them_out(data):
    (data / "img_dir/train/._000.jpg").write_bytes(b"")
    found = mask_folder.pairs(data / "img_dir/train", data / "ann_dir/train", ".jpg", ".png")
    assert len(found) == 3


def test_a_list_that_writes_an_ending_in_another_case_than_the_file_is_mended(data, train):
    for i, ending in enumerate((".JPG", ".Jpg")):
        file = data / f"train/{i:03d}.jpg"
        file.rename(file.with_suffix(ending))
    annotations = read_coco(train)
    assert folder_of_images(annotations, data / "train", [data]) == data / "train"
    check_images(annotations, data / "train")
    names = [image["file_name"] for image in annotations.content["images"]]
    assert names == ["000.JPG", "001.Jpg", "002.jpg"]
    assert annotations.mended == {"names of images have the case of their file's ending": 2}
