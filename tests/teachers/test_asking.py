# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How a teacher is shown the images of a set: read as the training reads them."""

import numpy as np
import pytest
from PIL import Image

from tests import models
from xmoco_plugin.teachers import from_config
from xmoco_plugin.teachers.asking import reading, teacher_pipeline
from xmoco_plugin.teachers.stored import data_digest


def test_what_decides_over_pixels_is_taken_from_the_training_and_nothing_else():
    trained = [
        dict(type="LoadImageOrSkip", bit_depth=12, max_pixels=99, defer_jpegs=True, min_side=4),
        dict(type="OneView"),
    ]
    assert reading(trained) == dict(bit_depth=12, max_pixels=99)
    assert reading([dict(type="LoadImageFromFile")]) == {}
    assert teacher_pipeline(8, trained)[0] == dict(
        type="LoadImageOrSkip", on_error="raise", bit_depth=12, max_pixels=99
    )


def test_the_same_files_read_with_another_depth_are_another_set():
    assert data_digest(["a"], 16) == data_digest(["a"])
    assert data_digest(["a"], 12) not in (data_digest(["a"]), data_digest(["a"], 14))


def test_the_teacher_of_a_config_sees_16_bit_grey_as_the_training_reads_it(tmp_path, monkeypatch):
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "a.png")
    (tmp_path / "files.txt").write_text(f"{tmp_path / 'a.png'}\n")
    models.save_checkpoint(tmp_path / "net.pth")
    shown = []

    def look(network, images, workers, device):
        shown.append(int(images[0]["inputs"].min()))
        raise InterruptedError

    monkeypatch.setattr(from_config, "asker", look)
    pipeline = [dict(type="LoadImageOrSkip", bit_depth=12), dict(type="OneView")]
    data = dict(type="ListedImages", ann_file=str(tmp_path / "files.txt"), pipeline=pipeline)
    with pytest.raises(InterruptedError):
        from_config.lesson_of_config(tmp_path, str(tmp_path / "net.pth"), 8, 1, data, "cpu")
    assert shown == [255]
