# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How a teacher is shown the images of a set: read as the training reads them."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import DATASETS
from PIL import Image

from tests import models
from tests.pretraining.folder import draw
from xmoco_plugin.checkpoint import CheckpointError
from xmoco_plugin.data.shards import ShardSet, write_shards
from xmoco_plugin.teachers import (
    Belongs,
    StoredFeatures,
    TeacherError,
    from_config,
    read_lesson,
)
from xmoco_plugin.teachers.asking import asker, put_together, reading, teacher_pipeline
from xmoco_plugin.teachers.lesson import FEATURES, FILE
from xmoco_plugin.teachers.preparing import prepare_lesson
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

    def look(network, images, *rest):
        shown.append(int(images[0]["inputs"].min()))
        raise InterruptedError

    monkeypatch.setattr(from_config, "asker", look)
    pipeline = [dict(type="LoadImageOrSkip", bit_depth=12), dict(type="OneView")]
    data = dict(type="ListedImages", ann_file=str(tmp_path / "files.txt"), pipeline=pipeline)
    with pytest.raises(InterruptedError):
        from_config.lesson_of_config(tmp_path, str(tmp_path / "net.pth"), 8, 1, data, "cpu")
    assert shown == [255]


def test_features_of_a_config_s_shards_have_the_places_that_training_asks_for(tmp_path):
    draw(tmp_path / "images", 9, side=12)
    write_shards(tmp_path / "images", str(tmp_path / "set"), 0.001)
    models.save_checkpoint(tmp_path / "net.pth")
    data = dict(
        type="ShardedImages",
        data_root=str(tmp_path / "set"),
        pipeline=[dict(type="LoadImageOrSkip"), dict(type="OneView")],
    )
    said: list[str] = []
    words = (tmp_path, str(tmp_path / "net.pth"), 8, 4, data, "cpu")
    from_config.lesson_of_config(*words, say=said.append)
    belongs = read_lesson(tmp_path / FILE).belongs
    assert belongs.data == data_digest([ShardSet(str(tmp_path / "set")).index.digest])
    stored = StoredFeatures(tmp_path / FEATURES, belongs, as_listed=True)
    assert stored.complete
    images = DATASETS.build(data | dict(pipeline=teacher_pipeline(8)))
    source = from_config.open_teacher(str(tmp_path / "net.pth"))
    network = source.frozen(8)
    for place in (0, 4, 8):
        sample = images[place]
        expected = network(sample["inputs"][None].flip(1))[0]
        torch.testing.assert_close(stored.sample(9)[place], expected, rtol=1e-2, atol=1e-2)
    # Made once: a second call looks at what is there.
    from_config.lesson_of_config(*words, say=said.append)
    assert said.count("teacher: asked for 9 of 9 images") == 1
    # A run goes on where its teacher's file is not; on the same images and at the same size.
    (tmp_path / "net.pth").unlink()
    from_config.lesson_of_config(*words, say=said.append)
    assert "net.pth is not there; the run goes on with what it has stored of net.pth" in said[-1]
    with pytest.raises(TeacherError, match=r"at 8 px and 9 images; this run has net\.pth at 6"):
        from_config.lesson_of_config(*words[:2], 6, *words[3:])
    (tmp_path / FILE).unlink()
    with pytest.raises(CheckpointError, match=r"net\.pth"):
        from_config.lesson_of_config(*words)


def test_an_image_without_pixels_has_the_row_of_one_beside_it():
    one, two = torch.full((3, 2, 2), 1), torch.full((3, 2, 2), 2)
    found = put_together(["why", one, "why not", two])
    assert found.pixels[:, 0, 0, 0].tolist() == [1, 2]
    assert found.rows.tolist() == [0, 0, 0, 1]
    assert found.reasons == ["why", "why not"]


class Damaged(torch.utils.data.Dataset):
    """Images of which those at some places cannot be read."""

    fails_with = KeyError

    def __init__(self, images: int, bad: set[int]) -> None:
        self.images, self.bad = images, bad

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, place: int) -> dict:
        if place in self.bad:
            raise KeyError(place)
        return dict(inputs=torch.full((3, 2, 2), float(place)))


class Mean(torch.nn.Module):
    def in_bfloat16(self, device):
        return False

    def width(self) -> int:
        return 1

    def forward(self, pixels):
        return pixels.mean((1, 2, 3))[:, None]


def test_a_damaged_shard_is_passed_over_and_too_many_images_end_the_pass():
    said: list[str] = []
    images = Damaged(400, {3, 4, 5})
    ask = asker(Mean(), images, 0, "cpu", said.append)
    rows = torch.cat(list(ask([range(3), range(3, 6), range(6, 9)])))
    assert rows[:, 0].tolist() == [0, 1, 2, 2, 2, 2, 6, 7, 8]
    assert len(said) == 3
    images.bad = set(range(5))
    with pytest.raises(TeacherError, match="5 of 400 images could not be read"):
        list(ask([range(3), range(3, 6)]))


def test_sets_in_memory_are_known_by_their_pixels():
    of = lambda *values: [  # noqa: E731
        dict(img=np.full((2, 2, 3), value, np.uint8), sample_idx=i)
        for i, value in enumerate(values)
    ]
    known = [[*from_config._known_by(Infos(infos))] for infos in (of(1, 2), of(1, 2), of(1, 3))]
    assert known[0] == known[1]
    assert [a == b for a, b in zip(known[0], known[2], strict=True)] == [True, False]
    named = [dict(img_path="a.png"), dict(img_path="b.png")]
    assert [*from_config._known_by(Infos(named))] == ["a.png", "b.png"]


class Infos(list):
    get_data_info = list.__getitem__


def test_an_image_that_the_training_of_a_config_would_skip_does_not_end_the_pass(tmp_path):
    draw(tmp_path / "images", 9, side=12)
    files = sorted((tmp_path / "images").rglob("*.png"))
    files[4].write_bytes(b"no picture")
    (tmp_path / "files.txt").write_text("".join(f"{file}\n" for file in files))
    models.save_checkpoint(tmp_path / "net.pth")
    reader = dict(type="LoadImageOrSkip")
    data = dict(type="ListedImages", ann_file=str(tmp_path / "files.txt"), pipeline=[reader])
    said: list[str] = []
    words = (tmp_path, str(tmp_path / "net.pth"), 8, 4, data, "cpu")
    from_config.lesson_of_config(*words, say=said.append)
    assert [files[4].name in line for line in said if line.startswith("unreadable")] == [True]
    stored = StoredFeatures(tmp_path / FEATURES, read_lesson(tmp_path / FILE).belongs)
    assert stored.complete
    assert stored.project(lambda rows: rows).isfinite().all()


def test_features_of_a_teacher_that_is_asked_for_each_crop_are_looked_at_too(tmp_path):
    overflows = lambda batches: (torch.full((len(b), 2), float("inf")) for b in batches)  # noqa: E731
    belongs = Belongs(8, 2, "digest", "net", 8, "data")
    with pytest.raises(TeacherError, match="8 of 8 images are not finite"):
        prepare_lesson(tmp_path, None, overflows, belongs, own_crop=True)


@pytest.mark.parametrize("reader", ["LoadTileOrSkip", "xmoco_plugin.LoadChannelsOrSkip"])
def test_a_config_of_tiles_gets_no_keys_of_whole_pictures(tmp_path, reader):
    models.save_checkpoint(tmp_path / "net.pth")
    data = dict(type="TiledImages", pipeline=[dict(type=reader, side=8), dict(type="OneView")])
    with pytest.raises(TeacherError, match="a teacher is shown whole images"):
        from_config.lesson_of_config(tmp_path, str(tmp_path / "net.pth"), 8, 4, data, "cpu")
