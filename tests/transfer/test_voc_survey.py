# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Sets in VOC's format, and those that mmseg knows, are looked at before training."""

from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config, ConfigDict
from PIL import Image

from xmoco_plugin.data.labelled_sets import labelled_sets
from xmoco_plugin.downstream import DownstreamError, TrainingSet, prepare, survey_folder
from xmoco_plugin.downstream.host_masks import survey_host_masks
from xmoco_plugin.findings import table
from xmoco_plugin.untrusted import FileRefusedError, voc_image, voc_names

from .hosts import needs_mmdet, needs_mmseg

CLASSES = ("cat", "dog", "cow")


def thing(name: str, right: int = 20, hard: str = "<difficult>0</difficult>") -> str:
    box = f"<xmin>3</xmin><ymin>3</ymin><xmax>{right}</xmax><ymax>20</ymax>"
    return f"<object><name>{name}</name>{hard}<bndbox>{box}</bndbox></object>"


def draw_voc(root: Path) -> Path:
    """Three images with boxes and masks, one that no list names."""
    for folder in ("Annotations", "ImageSets/Main", "ImageSets/Segmentation", "JPEGImages"):
        (root / folder).mkdir(parents=True)
    (root / "SegmentationClass").mkdir()
    things = dict(
        a=thing("cat") + thing("dog", hard="<difficult>1</difficult>"), b=thing("cat", 99), c=""
    )
    for name, text in things.items():
        image = Image.fromarray(np.full((24, 32, 3), 120, np.uint8))
        image.save(root / f"JPEGImages/{name}.jpg")
        size = "<size><width>32</width><height>24</height></size>"
        (root / f"Annotations/{name}.xml").write_text(f"<annotation>{size}{text}</annotation>")
        mask = np.zeros((24, 32), np.uint8)
        mask[:6], mask[6:12] = 1, 255
        Image.fromarray(mask).save(root / f"SegmentationClass/{name}.png")
    (root / "JPEGImages/d.jpg").write_bytes((root / "JPEGImages/a.jpg").read_bytes())
    for kind in ("Main", "Segmentation"):
        (root / f"ImageSets/{kind}/trainval.txt").write_text("a\nb\nc\n")
    return root


def turned(root: Path) -> Path:
    """The set, of which one image has another ending."""
    (root / "JPEGImages/b.jpg").rename(root / "JPEGImages/b.JPG")
    return root


def boxes(root: Path, classes=CLASSES, **more) -> Config:
    data = dict(
        type="VOCDataset",
        data_root=str(root.parent),
        ann_file=f"{root.name}/ImageSets/Main/trainval.txt",
        data_prefix=dict(sub_data_root=f"{root.name}/"),
        metainfo=dict(classes=classes),
        pipeline=[dict(type="LoadImageFromFile")],
        **more,
    )
    return Config(dict(default_scope="mmdet", model=dict(), train_dataloader=dict(dataset=data)))


@needs_mmdet
def test_boxes_of_voc_are_counted_before_training_as_the_host_reads_them(tmp_path):
    from mmdet.registry import DATASETS

    root = draw_voc(tmp_path / "VOC2007")
    cfg = boxes(root, filter_cfg=dict(bbox_min_size=32))
    text = table(prepare(cfg))
    assert "ok    train    3 images, 3 boxes; 3 classes: cat 2, dog 1, cow 0" in text
    assert "note  train    1 class has no box: cow" in text
    assert "note  train    1 of 3 boxes are marked difficult: they are not learnt" in text
    assert "note  train    1 of 3 boxes reach beyond their image" in text
    assert "note  train    3 of 3 boxes are smaller than 32 px: they are not learnt" in text
    assert "note  train    1 of 3 images have no box: c" in text
    data = DATASETS.build({**cfg.train_dataloader.dataset, "pipeline": []})
    found = [i for n in range(3) for i in data.get_data_info(n)["instances"]]
    assert [i["ignore_flag"] for i in found] == [1, 1, 1]


@needs_mmdet
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda r: (r / "Annotations/b.xml").unlink(),
            r"1 of the 3 names .* no annotation; .*b.xml",
        ),
        (
            lambda r: (r / "JPEGImages/b.jpg").unlink(),
            r"1 of the 3 names .* have no image; .*b.jpg",
        ),
        (lambda r: (r / "Annotations/b.xml").write_text("<a"), r"b\.xml: no XML"),
        (
            lambda r: (r / "Annotations/b.xml").write_text(f"<a>{thing('cat', 'x')}</a>"),
            r"b\.xml: object 1: could not convert",
        ),
        (
            lambda r: (r / "Annotations/b.xml").write_text(
                "<a><object><name>cat</name></object></a>"
            ),
            r"b\.xml: it has an object without <bndbox>",
        ),
        (
            lambda r: (
                turned(r),
                (r / "Annotations/b.xml").write_text(f"<a>{thing('cat')}</a>"),
            ),
            r"b\.xml has no <size>, and for it mmdet opens b\.jpg: rename b\.JPG",
        ),
    ],
)
def test_what_the_host_would_stop_at_in_voc_is_named_before(tmp_path, change, message):
    root = draw_voc(tmp_path / "VOC2007")
    change(root)
    with pytest.raises(DownstreamError, match=message):
        prepare(boxes(root))


@needs_mmdet
def test_objects_that_are_not_learnt_need_no_box_as_the_host_passes_them_over(tmp_path):
    from mmdet.registry import DATASETS

    root = draw_voc(tmp_path / "VOC2007")
    things = "<object><name>q</name></object>" + thing("ox", "x") + thing("cat")
    size = "<size><width>32</width><height>24</height></size>"
    (root / "Annotations/b.xml").write_text(f"<annotation>{size}{things}</annotation>")
    cfg = boxes(root)
    text = table(prepare(cfg))
    assert "cat 2, dog 1, cow 0" in text
    assert "note  train    2 boxes are of classes that are not learnt: q 1, ox 1" in text
    data = DATASETS.build({**cfg.train_dataloader.dataset, "pipeline": []})
    assert len(data.get_data_info(1)["instances"]) == 1
    listed = root / "ImageSets/Main/trainval.txt"
    with pytest.raises(FileRefusedError, match=r"b\.xml: object 2: could not convert"):
        [voc_image(root / f"Annotations/{name}.xml") for name in voc_names(listed)]
    labelled_sets(root)  # evaluate's reader passes them over, too


@needs_mmdet
@needs_mmseg
def test_images_of_voc_with_endings_of_another_case_are_said_and_read_by_every_reader(tmp_path):
    from mmpretrain.registry import DATASETS

    root = turned(draw_voc(tmp_path / "VOC2007"))
    said = "1 of 3 images' names end in '.jpg' in another case: they are used: b.JPG"
    text = table(survey_folder(root, CLASSES) or [])
    assert f"note  trainval {said}" in text
    assert f"note  trainval masks {said}" in text
    assert f"note  train    {said}" in table(prepare(boxes(root)))
    prefix = dict(img_path="JPEGImages", seg_map_path="SegmentationClass")
    data = dict(type="PascalVOCDataset", data_root=str(root), data_prefix=prefix)
    data |= dict(ann_file="ImageSets/Segmentation/trainval.txt", pipeline=[])
    assert f"note  val      {said}" in table(survey_host_masks(dict(val=[ConfigDict(data)])))
    train = DATASETS.build(labelled_sets(root, 8).train)
    assert Path(train[1]["data_samples"].img_path).name == "b.JPG"
    assert train[1]["inputs"].shape == (3, 8, 8)


@needs_mmdet
def test_boxes_of_none_of_the_classes_are_refused_with_the_names_that_are_there(tmp_path):
    root = draw_voc(tmp_path / "VOC2007")
    with pytest.raises(
        DownstreamError, match=r"3 boxes are of none of the 1 .* \(ox\): cat 2, dog"
    ):
        prepare(boxes(root, classes=("ox",)))


def test_doctor_shows_both_kinds_of_voc_s_lists_and_what_is_in_none(tmp_path):
    draw_voc(tmp_path / "VOC2012")
    for root, year in ((tmp_path, "VOC2012 "), (tmp_path / "VOC2012", "")):
        text = table(survey_folder(root, CLASSES) or [])
        assert f"ok    {year}trainval" in text
        assert "3 images, 3 boxes; 3 classes: cat 2, dog 1, cow 0" in text
        assert "3 pairs; 4 classes: background 50.0 %, cat 25.0 %, dog 0 %, cow 0 %" in text
        assert f"{year}trainval masks 255, 25.0 % of the pixels, is ignored" in text
        assert "1 of 4 files in JPEGImages are in no list: d.jpg" in text
    (tmp_path / "VOC2012/SegmentationClass/b.png").unlink()
    text = table(survey_folder(tmp_path / "VOC2012", CLASSES) or [])
    assert "MEND  trainval masks 1 of 3 names have no mask in" in text


@needs_mmseg
def test_the_sets_that_mmseg_knows_are_looked_at_before_training(tmp_path):
    root = draw_voc(tmp_path / "VOC2012")
    data = ConfigDict(
        type="PascalVOCDataset",
        data_root=str(root),
        data_prefix=dict(img_path="JPEGImages", seg_map_path="SegmentationClass"),
        ann_file="ImageSets/Segmentation/trainval.txt",
        pipeline=[dict(type="LoadImageFromFile")],
    )
    text = table(survey_host_masks(dict(train=[data], val=[data])))
    assert text.count("3 pairs; 21 classes: background 50.0 %, aeroplane 25.0 %") == 1
    mask = root / "SegmentationClass/b.png"
    Image.fromarray(np.full((24, 32), 77, np.uint8)).save(mask)
    with pytest.raises(DownstreamError, match=r"b\.png has the value 77, and there are 21 classes"):
        survey_host_masks(dict(train=[data]))


@needs_mmseg
def test_of_ade_the_check_takes_the_host_s_own_endings_and_its_reduced_labels(tmp_path):
    for folder in ("images", "annotations"):
        (tmp_path / folder).mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images/a.jpg")
    mask = np.resize(np.array([0, 1, 150, 150], np.uint8), (8, 8))
    Image.fromarray(mask).save(tmp_path / "annotations/a.png")
    prefix = dict(img_path="images", seg_map_path="annotations")
    data = ConfigDict(type="ADE20KDataset", data_root=str(tmp_path), data_prefix=prefix)
    text = table(survey_host_masks(dict(train=[data])))
    assert "1 pairs; 150 classes: wall 25.0 %" in text
    assert "255, 25.0 % of the pixels, is ignored" in text


def cityscapes(root: Path, *values: int, **settings) -> ConfigDict:
    """A set of one image, whose mask has these values in equal parts."""
    for folder in ("img", "ann"):
        (root / folder).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(root / "img/a_leftImg8bit.png")
    mask = np.resize(np.array(values, np.uint8), (8, 8))
    Image.fromarray(mask).save(root / "ann/a_gtFine_labelTrainIds.png")
    prefix = dict(img_path="img", seg_map_path="ann")
    return ConfigDict(type="CityscapesDataset", data_root=str(root), data_prefix=prefix, **settings)


def seen_by_mmseg(data: ConfigDict) -> set[int]:
    """Labels of the mask as the host loads it."""
    from mmseg.datasets.transforms import LoadAnnotations
    from mmseg.registry import DATASETS

    info = DATASETS.build({**data, "pipeline": []}).get_data_info(0)
    return set(np.unique(LoadAnnotations().transform(info)["gt_seg_map"]).tolist())


@needs_mmseg
def test_some_of_a_set_s_classes_and_another_order_are_numbered_as_mmseg_numbers_them(tmp_path):
    some = cityscapes(tmp_path / "a", 0, 13, 18, 255, metainfo=dict(classes=("road", "car")))
    text = table(survey_host_masks(dict(train=[some])))
    assert "2 classes: road 25.0 %, car 25.0 %" in text
    assert "255, 50.0 % of the pixels, is ignored" in text
    assert seen_by_mmseg(some) == {0, 1, 255}
    endings = dict(img_suffix="_leftImg8bit.png", seg_map_suffix="_gtFine_labelTrainIds.png")
    held = TrainingSet.read(ConfigDict({**some, **endings}))
    assert held.counts([0]) == dict(road=1, car=1)
    from mmseg.datasets import CityscapesDataset

    names = CityscapesDataset.METAINFO["classes"]
    turned = cityscapes(tmp_path / "b", 0, 0, 0, 18, metainfo=dict(classes=names[::-1]))
    text = table(survey_host_masks(dict(train=[turned])))
    assert "19 classes: bicycle 25.0 %, motorcycle 0 %" in text
    assert seen_by_mmseg(turned) == {0, 18}
    some.metainfo = dict(palette=[[0, 0, 0]] * 19)
    text = table(survey_host_masks(dict(train=[some])))
    assert "19 classes: road 25.0 %, sidewalk 0 %" in text
    some.metainfo = dict(classes=("road", "ship"))
    with pytest.raises(DownstreamError, match=r"\('road', 'ship'\) is not a subset .* of Citys"):
        survey_host_masks(dict(train=[some]))


@needs_mmseg
def test_the_label_that_the_head_ignores_may_be_in_masks_of_a_set_that_mmseg_knows(tmp_path):
    head = dict(num_classes=19, ignore_index=254)
    cfg = Config(dict(model=dict(decode_head=head), val_evaluator=dict(type="IoUMetric")))
    data = cityscapes(tmp_path, 0, 13, 254, 254)
    text = table(survey_host_masks(dict(train=[data], val=[data]), cfg))
    assert "254, 50.0 % of the pixels, is ignored" in text
    assert "note  labels   training ignores label 254, the evaluator 255" in text
    with pytest.raises(DownstreamError, match=r"has the value 254, and there are 19 classes"):
        survey_host_masks(dict(train=[data]))
    data.metainfo = dict(classes=("road", "sidewalk"))
    with pytest.raises(DownstreamError, match=r"label 255, and the head ignores 254. Set model"):
        survey_host_masks(dict(train=[data]), cfg)
    assert survey_host_masks(dict(val=[data]), cfg)


def test_evaluate_names_an_annotation_that_does_not_say_whether_it_is_difficult(tmp_path):
    root = draw_voc(tmp_path / "VOC2007")
    labelled_sets(root)
    (root / "Annotations/b.xml").write_text(f"<a>{thing('cat', hard='')}</a>")
    with pytest.raises(FileRefusedError, match=r"b\.xml: it has an object without <difficult>"):
        labelled_sets(root)
