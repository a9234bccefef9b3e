# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which images of a labelled set a model is judged by, in each layout that is known."""

import json
from pathlib import Path

import pytest
from PIL import Image

from xmoco_plugin.downstream import DownstreamError, judged_images


def draw(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(root / name)


def found(root: Path, path: Path | None = None) -> dict[str, list[str]]:
    return {
        part: [str(Path(file).relative_to(root)) for file in files]
        for part, files in judged_images(path or root).items()
    }


def write_coco(file: Path, *images: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(dict(images=images, annotations=[], categories=[])))


def test_of_coco_the_lists_beside_the_training_name_them(tmp_path):
    draw(tmp_path, "train2017/a.jpg", "val2017/b.jpg", "val2017/unlisted.jpg", "test/c.JPG")
    lists = tmp_path / "annotations"
    write_coco(lists / "instances_train2017.json", dict(id=1, file_name="a.jpg"))
    write_coco(lists / "instances_val2017.json", dict(id=2, file_name="b.jpg"))
    write_coco(lists / "captions_val2017.json", dict(id=2, file_name="other.jpg"))
    assert found(tmp_path) == {"val": ["val2017/b.jpg"]}
    write_coco(lists / "test.json", dict(id=1, coco_url="http://x/test/c.jpg"))
    assert found(tmp_path, lists / "test.json") == {"test": ["test/c.JPG"]}
    draw(tmp_path, "img_dir/val/d.jpg")  # boxes and masks in one folder
    assert found(tmp_path) == {"val": ["img_dir/val/d.jpg", "val2017/b.jpg"]}


def test_of_other_files_in_json_beside_the_lists_none_names_judged_images(tmp_path):
    draw(tmp_path, "val/b.jpg", "pool/c.jpg")
    lists = tmp_path / "annotations"
    write_coco(lists / "val.json", dict(id=2, file_name="b.jpg"))
    write_coco(lists / "pool.json", dict(id=3, file_name="c.jpg"))  # another split
    (lists / "results.json").write_text('[{"image_id": 2, "score": 0.5}]')
    assert found(tmp_path) == {"val": ["val/b.jpg"]}
    (lists / "val.json").unlink()
    assert found(tmp_path) == {"pool": ["pool/c.jpg"]}
    (lists / "pool.json").unlink()
    with pytest.raises(DownstreamError, match=r"results\.json is not in COCO format"):
        found(tmp_path)


def test_a_list_is_named_for_a_part_by_a_whole_word(tmp_path):
    draw(tmp_path, "images/b.jpg", "latest/c.jpg")
    write_coco(tmp_path / "annotations" / "images.json", dict(id=2, file_name="b.jpg"))
    write_coco(tmp_path / "annotations" / "latest.json", dict(id=3, file_name="c.jpg"))
    assert found(tmp_path) == {"images": ["images/b.jpg"], "latest": ["latest/c.jpg"]}


def test_of_masks_and_of_classes_the_folders_do(tmp_path):
    draw(tmp_path / "m", "img_dir/train/a.jpg", "img_dir/val/b.jpg", "ann_dir/val/b.png")
    assert found(tmp_path / "m") == {"val": ["img_dir/val/b.jpg"]}
    names = ("train/x/a.jpg", "val/x/b.jpg", "val/y/c.jpg", "test/d.jpg")
    draw(tmp_path / "c", *names)
    assert found(tmp_path / "c") == {"test": ["test/d.jpg"], "val": ["val/x/b.jpg", "val/y/c.jpg"]}


def test_of_voc_the_lists_of_every_task_do(tmp_path):
    draw(tmp_path, "JPEGImages/a.jpg", "JPEGImages/b.jpg", "JPEGImages/c.JPG")
    for name, text in (
        ("Main/trainval", "a\n"),
        ("Main/test", "b 1\n\n"),
        ("Segmentation/test", "b\nc\n"),
    ):
        file = tmp_path / "ImageSets" / f"{name}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert found(tmp_path) == {"test": ["JPEGImages/b.jpg", "JPEGImages/c.JPG"]}


def test_a_folder_without_parts_is_judged_by_whole_and_one_of_training_alone_is_refused(tmp_path):
    draw(tmp_path / "f", "a.jpg", "x/b.jpg")
    assert found(tmp_path / "f") == {"images": ["a.jpg", "x/b.jpg"]}
    draw(tmp_path / "t", "train/a.jpg")
    with pytest.raises(DownstreamError, match="has no images of val or test"):
        judged_images(tmp_path / "t")
    write_coco(tmp_path / "bad.json", dict(id=1))
    with pytest.raises(DownstreamError, match="an image without file_name or coco_url"):
        judged_images(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("files", "judged"),
    [
        (
            ("leftImg8bit/train/x/a.png", "leftImg8bit/val/x/b.png", "gtFine/val/x/b.png"),
            "val/x/b.png",
        ),
        (("images/training/a.jpg", "images/validation/b.jpg"), "validation/b.jpg"),
    ],
    ids=["cityscapes", "ade20k"],
)
def test_of_the_hosts_own_folders_no_training_image_and_no_mask_is_one(tmp_path, files, judged):
    draw(tmp_path, *files)
    ((paths),) = found(tmp_path).values()
    assert [path.split("/", 1)[1] for path in paths] == [judged]


def test_of_several_years_of_voc_the_lists_count_and_training_folders_alone_are_refused(tmp_path):
    year = tmp_path / "kit" / "VOC2007"
    draw(year, "JPEGImages/a.jpg", "JPEGImages/b.jpg", "SegmentationClass/b.png")
    (year / "ImageSets/Main").mkdir(parents=True)
    (year / "ImageSets/Main/val.txt").write_text("b\n")
    assert found(year, tmp_path / "kit") == {"val": ["JPEGImages/b.jpg"]}
    draw(tmp_path / "lists", "images/a.jpg", "images/b.jpg")
    for part, name in (("train", "a.jpg"), ("val", "b.jpg")):
        write_coco(tmp_path / "lists" / f"{part}.json", dict(id=1, file_name=name))
    assert found(tmp_path / "lists") == {"val": ["images/b.jpg"]}
    draw(tmp_path / "alone", "shot/training/a.jpg")
    with pytest.raises(DownstreamError, match="no images of val or test"):
        judged_images(tmp_path / "alone")
