# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Stored features: filled once, go on after a kill, and belong to one set and one teacher."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from xmoco_plugin.teachers import Belongs, StoredFeatures, TeacherError, computing_order
from xmoco_plugin.teachers import stored as module

IMAGES, WIDTH = 23, 5
BELONGS = Belongs(IMAGES, WIDTH, teacher="t" * 8, name="net.pth", size=64, data="d" * 8)
TRUTH = torch.randn(IMAGES, WIDTH, generator=torch.Generator().manual_seed(0))


class Teacher:
    """Answers from TRUTH, and remembers what it was asked; dies after so many batches."""

    def __init__(self, dies_after: int = 99) -> None:
        self.asked: list[int] = []
        self.left = dies_after

    def __call__(self, batches):
        for places in batches:
            if self.left == 0:
                raise KeyboardInterrupt
            self.left -= 1
            self.asked += places
            yield TRUTH[list(places)]


def identity(features):
    return features


def test_every_row_is_that_of_its_image(tmp_path):
    stored = StoredFeatures(tmp_path / "f.bin", BELONGS)
    stored.fill(Teacher(), batch=4)
    again = StoredFeatures(tmp_path / "f.bin", BELONGS)
    assert again.complete
    torch.testing.assert_close(again.project(identity), TRUTH.half())
    assert os.path.getsize(tmp_path / "f.bin") == BELONGS.bytes


def test_a_killed_pass_goes_on_and_asks_for_no_image_that_is_on_the_disk(tmp_path):
    first = Teacher(dies_after=3)
    with pytest.raises(KeyboardInterrupt):
        StoredFeatures(tmp_path / "f.bin", BELONGS).fill(first, batch=4, every=2)
    half = StoredFeatures(tmp_path / "f.bin", BELONGS)
    assert half.done == 8  # the third batch was not known to be on the disk
    with pytest.raises(TeacherError, match="8 of 23 images"):
        half.project(identity)
    second = Teacher()
    half.fill(second, batch=4)
    assert first.asked[:8] + second.asked == computing_order(IMAGES)
    torch.testing.assert_close(half.project(identity), TRUTH.half())


def test_a_complete_file_is_opened_to_be_read_alone(tmp_path):
    stored = StoredFeatures(tmp_path / "f.bin", BELONGS)
    assert stored._rows.mode == "r+"
    stored.fill(Teacher())
    assert StoredFeatures(tmp_path / "f.bin", BELONGS)._rows.mode == "r"


def test_the_first_images_are_a_sample_of_the_whole_list(tmp_path):
    stored = StoredFeatures(tmp_path / "f.bin", BELONGS)
    stored.fill(Teacher(), batch=4, upto=10)
    assert stored.done == 10
    expected = TRUTH[computing_order(IMAGES)[:10]]
    torch.testing.assert_close(stored.sample(99), expected.half().float())
    order = computing_order(10_000)
    assert sorted(order) == list(range(10_000))
    assert abs(np.mean(order[:1000]) - 5000) < 500


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (dict(teacher="other"), "features of another teacher: net.pth, not net.pth"),
        (dict(width=6), "another teacher"),
        (dict(size=96), "images of 64 px, and 96 px are asked"),
        (dict(data="other"), "features of another set"),
        (dict(images=24), "of 23 images, and these are 24"),
    ],
)
def test_features_of_something_else_are_refused_and_named(tmp_path, change, says):
    StoredFeatures(tmp_path / "f.bin", BELONGS).fill(Teacher())
    before = (tmp_path / "f.bin").read_bytes()
    with pytest.raises(TeacherError, match=says):
        StoredFeatures(tmp_path / "f.bin", BELONGS._replace(**change))
    assert (tmp_path / "f.bin").read_bytes() == before


def test_a_damaged_file_is_refused_and_not_written_over(tmp_path):
    file = tmp_path / "f.bin"
    for content, says in (
        (b"", "holds no stored features"),
        (b"[" * 5000, "holds no stored features"),
        (b'{"format": "x"}'.ljust(4096), "holds no stored features"),
    ):
        file.write_bytes(content)
        with pytest.raises(TeacherError, match=says):
            StoredFeatures(file, BELONGS)
        assert file.read_bytes() == content
    file.unlink()
    StoredFeatures(file, BELONGS).fill(Teacher())
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(TeacherError, match=r"damaged: 4,322 bytes, where 4,326"):
        StoredFeatures(file, BELONGS)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 70_000.0])
def test_features_that_are_not_finite_or_overflow_are_refused(tmp_path, value):
    def broken(batches):
        for places in batches:
            features = TRUTH[list(places)].clone()
            features[1, 2] = value
            yield features

    stored = StoredFeatures(tmp_path / "f.bin", BELONGS)
    with pytest.raises(TeacherError, match=r"1 of 4 images are not finite, or above 65,504"):
        stored.fill(broken, batch=4)
    assert StoredFeatures(tmp_path / "f.bin", BELONGS).done == 0


def test_a_disk_that_is_too_small_is_said_before_with_the_size(tmp_path, monkeypatch):
    free = SimpleNamespace(free=1_100_000_000)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: free)
    large = BELONGS._replace(images=1_000_000, width=512)
    with pytest.raises(TeacherError, match=r"1,000,000 images need 1.02 GB .* 1.10 GB are free"):
        StoredFeatures(tmp_path / "f.bin", large)
    assert not (tmp_path / "f.bin").exists()
