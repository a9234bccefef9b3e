# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Pictures of any number of channels: read on one scale, bit by bit, whole and in tiles."""

import numpy as np
import pytest

from xmoco_plugin.data import (
    ChannelReading,
    LoadChannelsOrSkip,
    UnreadableImageError,
    channel_reading,
    labelled_sets,
    read_channels,
)
from xmoco_plugin.data.labelled_sets import file_pipeline

from .tiffs import noise, write

NODATA = dict(extratags=[(42113, "s", 0, "0", True)])


def reader(channels: int, top: float, **options) -> LoadChannelsOrSkip:
    fill = tuple(range(channels))
    return LoadChannelsOrSkip(channels, (0, top), fill, on_error="raise", **options)


@pytest.mark.parametrize(
    ("kind", "samples", "top"), [("uint8", 4, 255), ("uint16", 13, 4095), ("float32", 2, 250)]
)
def test_values_are_scaled_without_rounding_and_tiles_are_crops(tmp_path, kind, samples, top):
    pixels = noise(50, 70, samples, kind) * np.array(
        1 if kind == "uint8" else 16 if top > 255 else 1
    )
    pixels = pixels.astype(kind)
    path = write(tmp_path / "x.tif", pixels, photometric="minisblack", tile=(16, 16))
    whole = reader(samples, top).transform(dict(img_path=str(path)))
    assert whole["img"].dtype == np.float32
    assert whole["img_shape"] == (50, 70)
    assert np.allclose(whole["img"], pixels * (255 / top), rtol=1e-6)
    found = reader(samples, top, side=32).transform(dict(img_path=str(path), tile=(18, 38)))["img"]
    assert np.array_equal(found, whole["img"][18:, 38:])
    if top == 4095:  # what 8 bits would not tell apart
        assert len(np.unique(found)) > 245


def test_channels_that_are_picked_are_handed_on_in_their_order(tmp_path):
    path = write(tmp_path / "x.tif", noise(9, 8, 5, "uint16"), photometric="minisblack")
    whole = reader(5, 4095).transform(dict(img_path=str(path)))["img"]
    found = reader(5, 4095, picked=(4, 1, 4)).transform(dict(img_path=str(path)))["img"]
    assert np.array_equal(found, whole[..., [3, 0, 3]])
    for wrong in ((0,), (6,)):
        with pytest.raises(ValueError, match="of 5 channels, 1 is the first"):
            reader(5, 4095, picked=wrong)


def test_what_lies_beyond_the_range_is_cut_and_a_missing_pixel_is_the_mean(tmp_path):
    pixels = noise(8, 8, 5, "uint16") + 1
    pixels[0, 0], pixels[1, 1, 2] = 0, 60_000
    path = write(tmp_path / "x.tif", pixels, photometric="minisblack", **NODATA)
    found = reader(5, 4095).transform(dict(img_path=str(path)))["img"]
    assert found[0, 0].tolist() == [0, 1, 2, 3, 4]
    assert found[1, 1, 2] == 255
    floats = noise(8, 8, 2, "float32")
    floats[2, 3, 1] = np.nan
    floats[4, 4, 0] = np.inf
    path = write(tmp_path / "y.tif", floats, photometric="minisblack")
    found = reader(2, 250).transform(dict(img_path=str(path)))["img"]
    assert found[2, 3].tolist() == found[4, 4].tolist() == [0, 1]
    assert np.isfinite(found).all()
    alpha = noise(8, 8, 4, "uint16")
    alpha[..., 3] = 9
    alpha[5, 5, 3] = 0
    path = write(tmp_path / "z.tif", alpha, extrasamples=["unassalpha"])
    found = reader(3, 250).transform(dict(img_path=str(path)))["img"]
    assert (found.shape, found[5, 5].tolist()) == ((8, 8, 3), [0, 1, 2])
    # Where the number says so, alpha is a channel like the others.
    assert reader(4, 250).transform(dict(img_path=str(path)))["img"][5, 5, 3] == 0


def test_what_does_not_fit_is_named(tmp_path):
    path = write(tmp_path / "x.tif", noise(40, 40, 5), photometric="minisblack")
    with pytest.raises(UnreadableImageError, match="5 channels of uint8, and 4 are read"):
        reader(4, 255).transform(dict(img_path=str(path)))
    with pytest.raises(UnreadableImageError, match=r"40x40 px is above the limit of 100 pixels"):
        reader(5, 255, max_pixels=100).transform(dict(img_path=str(path)))
    with pytest.raises(UnreadableImageError, match="it has changed"):
        reader(5, 255, side=32).transform(dict(img_path=str(path), tile=(20, 0)))
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    with pytest.raises(UnreadableImageError, match="no TIFF"):
        reader(5, 255).transform(dict(img_path=str(tmp_path / "x.png")))
    for options, why in ((dict(value_range=(1, 1)), "must rise"), (dict(fill=[0]), "fill has 1")):
        with pytest.raises(ValueError, match=why):
            LoadChannelsOrSkip(**(dict(channels=5, value_range=(0, 1), fill=[0] * 5) | options))


def test_a_preprocessor_tells_how_its_pictures_are_read():
    settings = dict(type="ChannelsDataPreprocessor", mean=[1, 2.5], std=[1, 1], value_range=[0, 9])
    assert channel_reading(dict(data_preprocessor=settings)) == ChannelReading(2, (0, 9), (1, 2.5))
    within = dict(model=dict(data_preprocessor=settings), data_preprocessor=dict(type="Other"))
    assert channel_reading(within) == ChannelReading(2, (0, 9), (1, 2.5))
    assert channel_reading(dict(data_preprocessor=dict(type="SelfSupDataPreprocessor"))) is None
    for broken in (dict(mean="ab"), dict(value_range=[1]), dict(mean=[float("nan")])):
        with pytest.raises(ValueError, match="lacks mean or value_range"):
            channel_reading(dict(data_preprocessor=settings | broken))
    with pytest.raises(ValueError, match="must rise"):
        channel_reading(dict(data_preprocessor=settings | dict(value_range=[3, 2])))


def test_pipelines_of_pictures_become_those_of_channels(tmp_path):
    reading = ChannelReading(2, (0.0, 9.0), (1.0, 2.0))
    steps = file_pipeline(24)
    read_channels(steps, reading)
    assert [step["type"] for step in steps] == ["LoadChannelsOrSkip", "ChannelCrop", "PackInputs"]
    assert steps[0]["on_error"] == "raise"
    tiled = [dict(type="LoadTileOrSkip", side=64, cache_bytes=5), dict(type="TwoViews")]
    read_channels(dict(dataset=dict(pipeline=tiled)), reading)
    assert (tiled[0]["side"], tiled[0]["cache_bytes"]) == (64, 5)
    for name in ("train/a", "train/b", "val/a"):
        (tmp_path / name).mkdir(parents=True)
        write(tmp_path / name / "x.tif", noise(32, 32, 2), photometric="minisblack")
    sets = labelled_sets(tmp_path, 24)
    read_channels(list(sets[:2]), reading)
    for data in sets[:2]:
        assert [step["type"] for step in data["pipeline"]][:2] == [
            "LoadChannelsOrSkip",
            "ChannelCrop",
        ]
    with pytest.raises(
        ValueError, match="--augment crops pictures of 3 channels, and these have 2"
    ):
        read_channels(list(sets), reading)
