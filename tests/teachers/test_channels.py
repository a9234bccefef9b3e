# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A teacher of pictures beside images of many channels: which it is shown, and in what values."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import DATASETS
from torch import nn

from tests import models
from xmoco_plugin.teachers import (
    IMAGENET,
    Belongs,
    FrozenTeacher,
    Source,
    StoredFeatures,
    TeacherError,
    as_pixels,
    channels_shown,
    data_digest,
    describe_channels,
    for_channels,
    from_config,
    read_lesson,
    write_lesson,
)
from xmoco_plugin.teachers import channels as module
from xmoco_plugin.teachers.asking import asker, teacher_pipeline
from xmoco_plugin.teachers.lesson import FEATURES, FILE
from xmoco_plugin.teachers.projection import Projection
from xmoco_plugin.views import ChannelsDataPreprocessor

pytest.importorskip("tifffile")
from ..data.tiffs import noise, write

MEAN, STD = (10.0, 20.0, 30.0, 40.0), (1.0, 2.0, 4.0, 5.0)  # of four channels, in 0..255


class Seen(nn.Module):
    """Keeps what it was given."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 1)

    def forward(self, x):
        self.given = x
        return (self.conv(x),)


def source(channels: int = 3, mean=IMAGENET[0], std=IMAGENET[1], **more) -> Source:
    return Source("net", {}, Seen(channels), mean, std, "digest", **more)


def reader(top: float = 4095, channels: int = 4, **more) -> dict:
    fill = list(MEAN[:channels])
    return dict(
        type="LoadChannelsOrSkip", channels=channels, value_range=[0, top], fill=fill, **more
    )


@pytest.mark.parametrize(
    ("named", "number", "takes", "shown", "said"),
    [
        (None, 1, 3, (1,), "channel 1 of 1 as grey"),
        (None, 3, 3, (1, 2, 3), "channels 1, 2, 3 of 3 as red, green and blue"),
        (None, 4, 3, (1, 2, 3), "channels 1, 2, 3 of 4 as red, green and blue"),
        (None, 4, 1, (1, 2, 3), "grey, made of channels 1, 2, 3 of 4"),
        (None, 4, 4, (1, 2, 3, 4), "channels 1, 2, 3, 4 of 4"),
        ((4, 3, 2), 13, 3, (4, 3, 2), "channels 4, 3, 2 of 13 as red, green and blue"),
        ([2], 2, 3, (2,), "channel 2 of 2 as grey"),
        ((2,), 2, 1, (2,), "channel 2 of 2 as grey"),
        ((8, 4, 3, 2), 13, 4, (8, 4, 3, 2), "channels 8, 4, 3, 2 of 13"),
    ],
)
def test_a_teacher_is_shown_three_channels_or_one_or_as_many_as_it_takes(
    named, number, takes, shown, said
):
    assert channels_shown(named, number, takes) == shown
    assert describe_channels(shown, number, takes) == said


@pytest.mark.parametrize(
    ("named", "number", "takes", "says"),
    [
        (None, 2, 3, "2 channels, and a teacher sees three colours or grey: .* as grey, 1 or 2"),
        (None, 13, 3, "nobody knows which of them are red, green and blue: name those three"),
        (None, 13, 4, "takes images of 4 channels, and these have 13: name 4 of them"),
        (None, 3, 4, "takes images of 4 channels, and these have 3: take another teacher"),
        ((3, 2, 0), 4, 3, "3,2,0: there is no channel 0; these images have 4, counted from 1"),
        ((3, 2, 5), 4, 3, "there is no channel 5"),
        ((3, 3, 1), 4, 3, "3,3,1: a channel is named twice"),
        ((1, 2), 4, 3, "three as red, green and blue, or one as grey, and 2 are named"),
        ((1, 2, 3), 13, 4, "the teacher is shown 4, and 3 are named"),
        ("321", 4, 3, "'321': whole numbers counted from 1"),
        ((3.0, 2, 1), 4, 3, "whole numbers counted from 1"),
        ((), 4, 3, "whole numbers counted from 1"),
    ],
)
def test_channels_that_cannot_be_shown_are_refused_with_the_way_out(named, number, takes, says):
    with pytest.raises(TeacherError, match=f"^--teacher-channels.*{says}"):
        channels_shown(named, number, takes)


def asked(source: Source, folder, shown, trained=None, size: int = 8) -> torch.Tensor:
    """What a teacher's network is given of the TIFFs of a folder."""
    paths = sorted(map(str, folder.glob("*.tif")))
    (folder / "files.txt").write_text("".join(f"{path}\n" for path in paths))
    pipeline = teacher_pipeline(size, [trained or reader()], shown)
    images = DATASETS.build(
        dict(type="ListedImages", ann_file=str(folder / "files.txt"), pipeline=pipeline)
    )
    network = source.frozen(size, False)
    network.in_bfloat16 = lambda device: False
    list(asker(network, images, 0, "cpu")([range(len(paths))]))
    return network.backbone.given


@pytest.mark.parametrize(("shown", "expected"), [((3, 2, 1), (3, 2, 1)), ((4,), (4, 4, 4))])
def test_it_gets_the_channels_that_are_named_in_their_order_scaled_to_0_to_255(
    tmp_path, shown, expected
):
    pixels = np.empty((8, 8, 4), np.uint16)
    pixels[:] = (0, 273, 1365, 4095)  # of 4,095: 0, 17, 85 and 255 of 255
    write(tmp_path / "a.tif", pixels, photometric="minisblack")
    plain = source(mean=(0.0,), std=(1.0,))
    given = asked(plain, tmp_path, shown)
    values = (0.0, 17.0, 85.0, 255.0)
    assert given.shape == (1, 3, 8, 8)
    for place, channel in enumerate(expected):
        torch.testing.assert_close(given[0, place], torch.full((8, 8), values[channel - 1]))


def test_pixels_without_a_value_are_the_mean_of_their_channel(tmp_path):
    pixels = np.full((8, 8, 4), 0.5, np.float32)
    pixels[:4, :, 1] = np.nan
    write(tmp_path / "a.tif", pixels, photometric="minisblack")
    given = asked(source(mean=(0.0,), std=(1.0,)), tmp_path, (3, 2, 1), reader(1.0))
    assert given[0, :, 0, 0].tolist() == [30, 20, 10]
    assert given[0, :, 7, 7].tolist() == [127.5, 127.5, 127.5]


def test_the_whole_square_in_the_middle_is_shown_and_nothing_around_it_is_lost(tmp_path):
    pixels = noise(16, 24, 4, "uint16", 3)
    write(tmp_path / "a.tif", pixels, photometric="minisblack")
    given = asked(source(mean=(0.0,), std=(1.0,)), tmp_path, (2, 3, 4), reader(255), size=16)
    expected = torch.from_numpy(pixels[:, 4:20, 1:].astype(np.float32)).permute(2, 0, 1)
    torch.testing.assert_close(given[0], expected)


@pytest.mark.parametrize("bgr", [False, True])
def test_each_channel_gets_the_mean_and_the_deviation_of_ordinary_pictures(bgr):
    # One that subtracts 100 and divides by 50; ordinary red has 123.675 and 58.395.
    plain = source(mean=(100.0,) * 3, std=(50.0,) * 3, bgr=bgr)
    network = for_channels(plain, (3, 2, 1), MEAN, STD, (0, 4095)).frozen(8, False)
    for deviations in (0, 1):
        pixels = torch.empty(1, 3, 8, 8)
        pixels[:] = torch.tensor([30.0 + 4 * deviations, 20, 10])[:, None, None]
        network(pixels)
        red = network.backbone.given[0, 2 if bgr else 0, 0, 0].item()
        assert red == pytest.approx((123.675 + 58.395 * deviations - 100) / 50, abs=1e-5)
    blue = network.backbone.given[0, 0 if bgr else 2, 0, 0].item()
    assert blue == pytest.approx((103.53 - 100) / 50, abs=1e-5)


def test_a_teacher_of_imagenet_sees_each_channel_with_mean_0_and_deviation_1():
    found = for_channels(source(), (4,), MEAN, STD, (0, 1))
    np.testing.assert_allclose(found.mean, [40] * 3)
    np.testing.assert_allclose(found.std, [5] * 3)
    grey = for_channels(source(1), (1, 2, 3), MEAN, STD, (0, 1))
    assert len(grey.mean) == len(grey.std) == 1
    network = grey.frozen(8, False)
    network(torch.tensor(MEAN[:3])[None, :, None, None].expand(1, 3, 8, 8))
    # Ordinary luminance is 117.04; the mean of a grey network is that of three, 114.495.
    expected = torch.full((1, 1, 8, 8), (117.04 - 114.495) / 57.63)
    torch.testing.assert_close(network.backbone.given, expected, rtol=0, atol=1e-3)


def test_a_teacher_of_many_channels_has_its_own_numbers_for_the_same_values_only():
    own = source(4, mean=(1.0, 2, 3, 4), std=(5.0, 6, 7, 8), value_range=(0, 4095))
    assert for_channels(own, (1, 2, 3, 4), MEAN, STD, (0.0, 4095.0)) is own
    other = for_channels(own, (4, 3, 2, 1), MEAN, STD, (0.0, 1.0))
    assert (other.mean, other.std) == (MEAN[::-1], STD[::-1])
    network = other.frozen(8, False)
    assert network.width() == 4
    network(torch.tensor(MEAN[::-1])[None, :, None, None].expand(1, 4, 8, 8))
    assert network.backbone.given.abs().max() == 0
    with pytest.raises(TeacherError, match="images of 4 channels, and pictures have 1 or 3"):
        other.frozen(8)


@pytest.mark.parametrize(("shown", "expected"), [((3, 2, 1), (3, 2, 1)), ((4,), (4, 4, 4))])
def test_views_of_many_channels_become_the_pixels_of_those_that_are_shown(shown, expected):
    preprocessor = ChannelsDataPreprocessor(mean=MEAN, std=STD)
    pixels = torch.rand(2, 4, 5, 5) * 255
    views = (pixels - preprocessor.mean) / preprocessor.std
    found = as_pixels(views, preprocessor, module.in_order(shown))
    torch.testing.assert_close(found, pixels[:, [channel - 1 for channel in expected]])
    with pytest.raises(TeacherError, match="is shown channel 5, and the student's views have 4"):
        as_pixels(views, preprocessor, (5, 1, 2))


BELONGS = Belongs(9, 2, teacher="t", name="net", size=8, data="d", channels="3,2,1")


def test_features_of_other_channels_are_refused_and_named(tmp_path):
    StoredFeatures(tmp_path / "f.bin", BELONGS)
    StoredFeatures(tmp_path / "f.bin", BELONGS)
    with pytest.raises(TeacherError, match=r"other channels: 3,2,1, .* is shown 1,2,3\. Remove it"):
        StoredFeatures(tmp_path / "f.bin", BELONGS._replace(channels="1,2,3"))
    with pytest.raises(TeacherError, match=r"other channels: 3,2,1, and .* is shown pictures"):
        StoredFeatures(tmp_path / "f.bin", BELONGS._replace(channels=""))


def test_a_file_that_names_no_channels_is_of_pictures_as_before(tmp_path):
    pictures = BELONGS._replace(channels="")
    StoredFeatures(tmp_path / "f.bin", pictures)
    content = (tmp_path / "f.bin").read_bytes()
    older = content.replace(b', "channels": ""', b" " * 16)
    assert older != content
    (tmp_path / "f.bin").write_bytes(older)
    StoredFeatures(tmp_path / "f.bin", pictures)
    projection = Projection(torch.zeros(2), torch.eye(2), torch.ones(2))
    write_lesson(tmp_path / FILE, projection, pictures)
    state = torch.load(tmp_path / FILE)
    del state["meta"]["belongs"]["channels"]
    torch.save(state, tmp_path / FILE)
    assert read_lesson(tmp_path / FILE).belongs == pictures


@pytest.mark.parametrize("channels", ["0,1", "1,x", "1,,2", 3, "9" * 99])
def test_a_file_that_names_no_numbers_of_channels_is_refused(tmp_path, channels):
    projection = Projection(torch.zeros(2), torch.eye(2), torch.ones(2))
    write_lesson(tmp_path / FILE, projection, BELONGS._replace(channels=channels))
    with pytest.raises(TeacherError, match="it is damaged, or another file"):
        read_lesson(tmp_path / FILE)


def test_channels_in_other_values_are_another_set():
    assert data_digest(["a"], 16, ()) == data_digest(["a"])
    found = {data_digest(["a"], 16, numbers) for numbers in ((), (0, 1, 2), (0, 1, 3))}
    assert len(found) == 3


@pytest.fixture
def folder(tmp_path):
    """Eight images of four channels, a teacher, and the settings of a set of them."""
    for number in range(8):
        write(tmp_path / f"{number}.tif", noise(12, 14, 4, "uint16", number), photometric="rgb")
    paths = sorted(map(str, tmp_path.glob("*.tif")))
    (tmp_path / "files.txt").write_text("".join(f"{path}\n" for path in paths))
    models.save_checkpoint(tmp_path / "net.pth")
    return tmp_path


def lesson(folder, channels=None, step=None, preprocessor=None, **more) -> None:
    pipeline = [step or reader(255), dict(type="OneChannelView")]
    data = dict(type="ListedImages", ann_file=str(folder / "files.txt"), pipeline=pipeline)
    preprocessor = preprocessor or ChannelsDataPreprocessor(mean=MEAN, std=STD)
    more |= dict(channels=channels, preprocessor=preprocessor)
    words = (folder, str(folder / "net.pth"), 8, 4, data, "cpu")
    from_config.lesson_of_config(*words, **more)


def test_a_config_has_a_teacher_shown_its_channels_and_others_are_another_lesson(folder):
    lesson(folder, (3, 2, 1))
    belongs = read_lesson(folder / FILE).belongs
    assert (belongs.channels, belongs.images) == ("3,2,1", 8)
    stored = StoredFeatures(folder / FEATURES, belongs)
    assert stored.complete
    teacher = from_config.open_teacher(str(folder / "net.pth"))
    network = for_channels(teacher, (3, 2, 1), MEAN, STD, (0, 255)).frozen(8, False)
    pipeline = teacher_pipeline(8, [reader(255)], (3, 2, 1))
    data = dict(type="ListedImages", ann_file=str(folder / "files.txt"), pipeline=pipeline)
    first = DATASETS.build(data)[0]["inputs"]
    expected = network(first[None].flip(1))[0]
    rows = stored.project(lambda rows: rows).float()
    torch.testing.assert_close(rows[0], expected, rtol=2e-2, atol=2e-2)
    lesson(folder, (3, 2, 1))  # kept
    with pytest.raises(TeacherError, match=r"other images or channels \(3,2,1 there, 1,2,3 here\)"):
        lesson(folder)  # the first three
    (folder / FILE).unlink()
    with pytest.raises(TeacherError, match="holds features of other channels: 3,2,1"):
        lesson(folder, (1, 2, 3))


def test_what_a_config_does_not_say_of_channels_is_asked_for(folder):
    few = ChannelsDataPreprocessor(mean=[1, 2, 3], std=[1, 1, 1])
    with pytest.raises(TeacherError, match="a mean of 3 numbers, and the images have 4 channels"):
        lesson(folder, (3, 2, 1), preprocessor=few)
    with pytest.raises(TeacherError, match="TeacherHook's channels 5: there is no channel 5"):
        lesson(folder, (5,))
    with pytest.raises(TeacherError, match="reads, and the training set is read as pictures"):
        lesson(folder, (3, 2, 1), dict(type="LoadImageOrSkip"))


def test_a_grey_teacher_of_pictures_is_none_of_many_channels():
    network = FrozenTeacher(Seen(1), 8, bgr=True)
    assert (network.channels, network.shown, network.bgr) == (1, 3, False)
