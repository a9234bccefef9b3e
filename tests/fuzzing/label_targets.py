# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What reads the labels of strangers: COCO's and VOC's annotations, masks."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from xmoco_plugin.downstream import coco_survey
from xmoco_plugin.downstream.coco_annotations import check_images, read_coco
from xmoco_plugin.downstream.mask_survey import check_sizes, read_labels, survey
from xmoco_plugin.downstream.voc_survey import VocList, survey_voc


def annotations(folder: Path) -> list[bytes]:
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 2, 8, 9], area=72, iscrowd=0)
    box["segmentation"] = [[1, 2, 9, 2, 9, 11]]
    other = dict(box, id=2, category_id=2, bbox=[0.5, 0.5, 3.0, 4.0])
    content = dict(
        images=[dict(id=1, file_name="0.jpg", width=20, height=24)],
        annotations=[box, other],
        categories=[dict(id=1, name="a"), dict(id=2, name="b")],
    )
    return [json.dumps(content).encode(), json.dumps(content, indent=1).encode()]


def read_annotations(file: Path) -> None:
    found = read_coco(file)
    folder = file.parent / "images"
    folder.mkdir()
    Image.new("RGB", (20, 24)).save(folder / "0.jpg")
    check_images(found, folder)
    list(coco_survey.survey(found, folder, found.classes, "train"))
    coco_survey.write_mended(found, file.parent / "mended")


def masks(folder: Path) -> list[bytes]:
    found = []
    numbers = np.arange(480, dtype=np.uint8).reshape(24, 20) % 3
    for image in (Image.fromarray(numbers), Image.fromarray(numbers).quantize(4)):
        file = io.BytesIO()
        image.save(file, "PNG")
        found.append(file.getvalue())
    return found


def read_mask(file: Path) -> None:
    survey(read_labels([file]), ["a", "b", "c"], 255, 1, "train")
    check_sizes([file], [file])


def annotations_of_voc(folder: Path) -> list[bytes]:
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>4.5</ymax></bndbox>"
    thing = f"<object><name>cat</name><difficult>0</difficult>{box}</object>"
    size = "<size><width>32</width><height>24</height><depth>3</depth></size>"
    text = f"<annotation><filename>a.jpg</filename>{size}{thing}{thing}</annotation>"
    return [text.encode(), f'<?xml version="1.0" encoding="utf-8"?>\n{text}'.encode()]


def read_voc(file: Path) -> None:
    (file.parent / "list.txt").write_text("a\n")
    (file.parent / "a.jpg").touch()
    voc = VocList(file.parent / "list.txt", file.parent, file.parent)
    survey_voc(voc, ["cat", "dog"], "train", 8, "other")
