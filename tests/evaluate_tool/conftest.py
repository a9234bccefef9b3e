# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""evaluate.py, labelled sets in two layouts, and a checkpoint that tells their colours."""

import numpy as np
import pytest
from PIL import Image

from .. import models
from ..tool_modules import import_tool
from .command import COLOURS, noise


@pytest.fixture
def tool():
    return import_tool("evaluate")


@pytest.fixture
def folder(tmp_path):
    """train/ and val/, a folder for each of three colours."""
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 5)):
        for name, colour in COLOURS.items():
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(noise(colour, random))
                image.save(tmp_path / "set" / split / name / f"{i}.png")
    return tmp_path / "set"


@pytest.fixture
def voc(tmp_path):
    """VOC's layout with three classes; every fourth object is difficult."""
    random = np.random.default_rng(0)
    root = tmp_path / "VOC"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for split, count in (("trainval", 24), ("test", 18)):
        ids = [f"{split}{i}" for i in range(count)]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(ids))
        for i, name in enumerate(ids):
            colour = list(COLOURS.values())[i % 3]
            Image.fromarray(noise(colour, random)).save(root / "JPEGImages" / f"{name}.jpg")
            label = ("cat", "dog", "horse")[i % 3]
            objects = f"<object><name>{label}</name><difficult>0</difficult></object>"
            if i % 4 == 0:
                objects += "<object><name>cow</name><difficult>1</difficult></object>"
            text = f"<annotation>{objects}</annotation>"
            (root / "Annotations" / f"{name}.xml").write_text(text)
    return root


@pytest.fixture
def checkpoint(tmp_path):
    """As mmengine writes it, with the config inside; its backbone tells colours."""
    path = tmp_path / "epoch_1.pth"
    models.save_checkpoint(path)
    return path
