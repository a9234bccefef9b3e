# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Annotation files that mmdet or pycocotools read wrongly are mended in a copy, or refused."""

import copy
import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from xmoco_plugin.downstream import DownstreamError, prepare
from xmoco_plugin.downstream.coco_annotations import read_coco
from xmoco_plugin.downstream.coco_mend import mend
from xmoco_plugin.downstream.coco_survey import survey, write_mended
from xmoco_plugin.findings import Finding, table

from .drawn import CLASSES, draw, edit
from .hosts import needs_mmdet
from .test_prepare import config

PARTS = dict(boxes="annotations", images="images", classes="categories")


def each(part: str, change):
    """A change of every box, image or class."""

    def apply(content: dict) -> None:
        for entry in content[PARTS[part]]:
            change(entry)

    return apply


def turned(content: dict) -> None:
    content["categories"].reverse()


def other_ids(content: dict) -> None:
    """The same classes by other numbers, in another order."""
    new = {1: 30, 2: 20, 3: 10}
    for box in content["annotations"]:
        box["category_id"] = new[box["category_id"]]
    content["categories"] = [dict(id=new[c["id"]], name=c["name"]) for c in content["categories"]]
    content["categories"].sort(key=lambda c: c["id"])


def named_images(content: dict) -> None:
    for image in content["images"]:
        image["id"] = f"image {image['id']}"
    for box in content["annotations"]:
        box["image_id"] = f"image {box['image_id']}"


# What is changed in val.json -> what the table says of it.
MENDED = {
    "no area": (each("boxes", lambda b: b.pop("area")), "4 boxes without an area"),
    "area 0": (each("boxes", lambda b: b.update(area=0)), "4 boxes without an area"),
    "area as text": (each("boxes", lambda b: b.update(area="9")), "4 boxes without an area"),
    "no iscrowd": (each("boxes", lambda b: b.pop("iscrowd")), "4 boxes without iscrowd"),
    "iscrowd null": (each("boxes", lambda b: b.update(iscrowd=None)), "4 boxes without iscrowd"),
    "one id": (each("boxes", lambda b: b.update(id=1)), "4 boxes have new ids"),
    "ids from 0": (each("boxes", lambda b: b.update(id=b["id"] - 1)), "4 boxes have new ids"),
    "no ids": (each("boxes", lambda b: b.pop("id")), "4 boxes have new ids"),
    "image_id as text": (
        each("boxes", lambda b: b.update(image_id=str(b["image_id"]))),
        "4 boxes name their image or class by another type",
    ),
    "image_id as float": (
        each("boxes", lambda b: b.update(image_id=float(b["image_id"]))),
        "4 boxes name their image or class by another type",
    ),
    "category_id as text": (
        each("boxes", lambda b: b.update(category_id=str(b["category_id"]))),
        "4 boxes name their image or class by another type",
    ),
    "ids of classes as text": (
        each("classes", lambda c: c.update(id=str(c["id"]))),
        "3 classes have ids that were texts",
    ),
    "ids of images as names": (named_images, "2 images have new ids"),
    "no height": (each("images", lambda i: i.pop("height")), "2 images without width or height"),
    "no bbox": (each("boxes", lambda b: b.pop("bbox")), "4 boxes without bbox"),
    "bbox as texts": (
        each("boxes", lambda b: b.update(bbox=[str(v) for v in b["bbox"]])),
        "4 boxes have a bbox in texts",
    ),
    "turned": (turned, "3 classes are listed in the order in which they are learnt"),
    "other ids": (other_ids, "3 classes are listed in the order in which they are learnt"),
}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    return draw(tmp_path_factory.mktemp("good") / "data", train=3, val=2)


@pytest.fixture
def data(good, tmp_path) -> Path:
    """The same set, whose val.json may be changed."""
    root = tmp_path / "data"
    root.mkdir()
    for name in ("train", "val"):
        (root / name).symlink_to(good / name)
    (root / "annotations").mkdir()
    for name in ("train.json", "val.json"):
        (root / "annotations" / name).write_text((good / "annotations" / name).read_text())
    return root


@pytest.fixture(scope="module")
def detector() -> Config:
    pytest.importorskip("mmdet")
    return config("detection/faster-rcnn_r18-fpn_small_scratch.py", Path("."))


def ready(detector: Config, data: Path) -> tuple[Config, list[Finding]]:
    cfg = copy.deepcopy(detector)
    for stage in ("train", "val", "test"):
        cfg[f"{stage}_dataloader"].dataset.data_root = str(data)
    cfg.work_dir = str(data.parent / "work")
    return cfg, prepare(cfg)


def loaded(file: Path, images: Path) -> list[list[tuple]]:
    """Boxes by image as mmdet hands them on: name and number of the class, corners."""
    from mmdet.datasets import CocoDataset

    data = CocoDataset(
        ann_file=str(file),
        data_prefix=dict(img=str(images)),
        metainfo=dict(classes=CLASSES),
        test_mode=True,
    )
    return [
        [(CLASSES[b["bbox_label"]], b["bbox_label"], tuple(b["bbox"])) for b in info["instances"]]
        for info in map(data.get_data_info, range(len(data)))
    ]


def truth(good: Path) -> list[list[tuple]]:
    content = json.loads((good / "annotations/val.json").read_text())
    found: list[list[tuple]] = [[] for _ in content["images"]]
    for box in content["annotations"]:
        x, y, w, h = box["bbox"]
        number = box["category_id"] - 1
        found[box["image_id"]].append((CLASSES[number], number, (x, y, x + w, y + h)))
    return found


@needs_mmdet
@pytest.mark.parametrize("name", MENDED)
def test_what_has_one_meaning_is_mended_and_the_host_sees_every_box(data, good, name):
    change, words = MENDED[name]
    edit(data / "annotations/val.json", change)
    annotations = read_coco(data / "annotations/val.json")
    found = survey(annotations, data / "val", CLASSES, "val")
    assert words in table(found)
    file = write_mended(annotations, data.parent / "mended")
    assert loaded(file, data / "val") == truth(good)
    assert not read_coco(file).mended


@needs_mmdet
def test_perfect_answers_have_an_ap_of_100_percent_after_mending(detector, data, good):
    from mmdet.evaluation import CocoMetric

    edit(data / "annotations/val.json", turned)
    edit(data / "annotations/val.json", each("boxes", lambda b: b.update(id=b["id"] - 1)))
    edit(data / "annotations/val.json", each("boxes", lambda b: b.pop("iscrowd")))
    before = (data / "annotations/val.json").read_text()
    cfg, _ = ready(detector, data)
    assert (data / "annotations/val.json").read_text() == before
    file = Path(cfg.val_evaluator.ann_file)
    assert file.parent == data.parent / "work/annotations"
    assert {cfg[f"{stage}_dataloader"].dataset.ann_file for stage in ("val", "test")} == {str(file)}
    again, _ = ready(detector, data)
    assert again.val_evaluator.ann_file == str(file)  # the same data, the same file: a run goes on
    metric = CocoMetric(ann_file=str(file), metric="bbox")
    metric.dataset_meta = dict(classes=cfg.val_dataloader.dataset.metainfo["classes"])
    assert loaded(file, data / "val") == truth(good)
    for number, boxes in enumerate(truth(good)):
        answer = dict(
            bboxes=torch.tensor([b[2] for b in boxes], dtype=torch.float),
            labels=torch.tensor([b[1] for b in boxes]),
            scores=torch.ones(len(boxes)),
        )
        metric.process({}, [dict(img_id=number, ori_shape=(96, 96), pred_instances=answer)])
    assert metric.evaluate(2)["coco/bbox_mAP"] == 1.0


@needs_mmdet
def test_a_test_alone_numbers_the_classes_as_its_weights_were_trained(detector, data, tmp_path):
    edit(data / "annotations/val.json", other_ids)
    cfg, _ = ready(detector, data)
    cfg.train_cfg = cfg.train_dataloader = cfg.val_dataloader = None
    cfg.load_from = str(tmp_path / "trained.pth")
    meta = dict(dataset_meta=dict(classes=tuple(CLASSES)))
    torch.save(dict(state_dict={}, meta=meta), cfg.load_from)
    prepare(cfg)
    assert cfg.test_dataloader.dataset.metainfo["classes"] == tuple(CLASSES)


def test_mending_looks_at_each_image_a_few_times_however_many_there_are():
    asked = []

    class Id(int):
        def __eq__(self, other):
            asked.append(other)
            return int(self) == other

        __hash__ = int.__hash__

    number = 300
    boxes = [
        dict(id=i + 1, image_id=i, category_id=1, bbox=[0, 0, 5, 5], area=25, iscrowd=0)
        for i in range(number)
    ]
    content = dict(
        images=[dict(id=Id(i)) for i in range(number)], categories=[dict(id=1, name="a")]
    )
    assert not mend(content | dict(annotations=boxes))
    assert len(asked) < 20 * number


@needs_mmdet
def test_a_good_file_is_read_as_it_is_and_counted(detector, data):
    cfg, found = ready(detector, data)
    assert cfg.val_dataloader.dataset.ann_file == "annotations/val.json"
    assert [row.part for row in found if row.state == "ok"] == ["train", "train", "val", "val"]
    assert "2 images, 4 boxes; 3 classes: " in table(found)
    assert not (data.parent / "work").exists()


@needs_mmdet
def test_names_that_begin_with_their_folder_are_found(detector, data):
    edit(
        data / "annotations/val.json",
        each("images", lambda i: i.update(file_name=f"val/{i['file_name']}")),
    )
    cfg, _ = ready(detector, data)
    assert cfg.val_dataloader.dataset.data_prefix["img"] == str(data)
    assert cfg.train_dataloader.dataset.data_prefix["img"] == "train/"


def test_what_is_not_used_is_counted_and_named(data):
    def change(content: dict) -> None:
        boxes = content["annotations"]
        boxes[0]["bbox"] = [500, 500, 9, 9]
        boxes[1]["image_id"] = 77
        boxes[2]["bbox"] = ["a", 1, 2, 3]
        content["images"][1].update(width=95)
        boxes[3].update(bbox=[9, 9, 200, 9], iscrowd=1)

    edit(data / "annotations/val.json", change)
    found = survey(read_coco(data / "annotations/val.json"), data / "val", CLASSES, "val")
    text = table(found)
    assert "the host leaves out 1 boxes outside of their image" in text
    assert "1 boxes are left out: they are of images that the file does not list" in text
    assert "1 boxes are left out: their bbox is not four numbers" in text
    assert "1 of 2 boxes are crowds (iscrowd)" in text
    assert "2 of 2 boxes reach beyond their image: are they [left, top, right, bottom]?" in text
    assert "001.jpg (96x96, listed 95x96)" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            each("boxes", lambda b: b.update(bbox=[v / 96 for v in b["bbox"]])),
            "leave out each of its 4 boxes .*shares of the image's sides",
        ),
        (each("boxes", lambda b: b.update(image_id="x")), "4 boxes are left out: they are of im"),
        (each("images", lambda i: i.update(id=5)), r"several images one id \(5\)"),
        (each("classes", lambda c: c.update(id=5)), r"several categories one id \(5\)"),
    ],
)
def test_what_has_no_one_meaning_is_refused(data, change, message):
    edit(data / "annotations/val.json", change)
    with pytest.raises(DownstreamError, match=message):
        survey(read_coco(data / "annotations/val.json"), data / "val", CLASSES, "val")
