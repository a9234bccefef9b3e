# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The scan of many channels, the first convolution for them, and files that differ."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from xmoco_plugin.cli.pretrain_data import look_for_training
from xmoco_plugin.data import tiff_file
from xmoco_plugin.export.detectors import Inputs
from xmoco_plugin.pretraining import (
    Choices,
    PretrainError,
    backbone_config,
    describe,
    one_kind,
    scan_images,
    take_channels,
    tile_scan,
)
from xmoco_plugin.pretraining.first_convolution import widen, widened

from ..data.tiffs import noise, write


def spread(height: int, width: int, samples: int = 4, kind: str = "uint16", seed: int = 0):
    """Noise whose channels differ, up to 12 bits."""
    return (noise(height, width, samples, kind, seed) * np.arange(1, samples + 1) * 3 + 1).astype(
        kind
    )


@pytest.fixture
def pictures(tmp_path):
    (tmp_path / "a").mkdir()
    nodata = dict(extratags=[(42113, "s", 0, "0", True)], photometric="minisblack")
    first = spread(130, 140)
    first[:64, :64] = 0
    write(tmp_path / "a/x.tif", first, tile=(32, 32), **nodata)
    write(tmp_path / "a/y.tif", spread(70, 64, seed=1), planar=True, **nodata)
    return [str(path) for path in sorted((tmp_path / "a").iterdir())]


def test_mean_and_deviation_are_those_of_the_pixels_that_have_values(pictures, tmp_path):
    found = scan_images(pictures, tmp_path / "s.jsonl", channels=4).channels
    pixels = np.concatenate(
        [spread(130, 140).reshape(-1, 4), spread(70, 64, seed=1).reshape(-1, 4)]
    )
    first = np.zeros((130, 140), bool)
    first[:64, :64] = True
    seen = np.concatenate([~first.ravel(), np.ones(70 * 64, bool)])
    assert (found.number, found.kind, found.sampled) == (4, "uint16", seen.sum())
    assert np.allclose(found.mean, pixels[seen].mean(axis=0))
    assert np.allclose(found.std, pixels[seen].std(axis=0))
    assert found.high == pixels[seen].max() == 2989
    assert found.value_range() == (0, 4095)
    assert found.value_range(16) == (0, 65535)
    plan = found.plan()
    assert np.allclose(plan.reading.fill, found.mean * 255 / 4095, atol=1e-3)
    assert np.allclose(plan.std, found.std * 255 / 4095, atol=1e-3)


def test_tiles_of_channels_are_counted_and_large_ones_sampled(pictures, tmp_path):
    found = scan_images(pictures, tmp_path / "s.jsonl", side=64, channels=4)
    # 2 x 2 less the empty one, 1 x 1; 12 px of 140 are an eighth of a tile, and 6 of 70 are not.
    assert found.tiles.places.tolist() == [
        *([0, 0, 64], [0, 0, 76], [0, 64, 0], [0, 64, 64], [0, 64, 76], [1, 0, 0]),
    ]
    assert found.tiles.empty == 1
    assert found.channels.sampled == 6 * 64 * 64
    said = "\n".join(describe(found, 32))
    assert (
        "channels: 4 of uint16, values 1 to 2989: read as 12 bits (the largest value decides)"
        in said
    )
    assert "from 24,576 pixels" in said
    assert "without hue, saturation and grey" in said
    assert "values as the network sees them" not in said
    large = str(write(tmp_path / "l.tif", spread(300, 300), photometric="minisblack"))
    assert scan_images([large], tmp_path / "s.jsonl", channels=4).channels.sampled == 75**2


def test_a_second_scan_opens_nothing_and_broken_lines_are_looked_at_anew(pictures, tmp_path):
    cache = tmp_path / "s.jsonl"
    first = scan_images(pictures, cache, channels=4).channels
    text = cache.read_text()
    assert scan_images(pictures, cache, channels=4).channels.high == first.high
    assert cache.read_text() == text
    lines = [json.loads(line) | {"sum": ["x"] * 4} for line in text.splitlines() if line]
    cache.write_text("".join(json.dumps(line) + "\n" for line in lines))
    again = scan_images(pictures, cache, channels=4).channels
    assert np.array_equal(again.mean, first.mean)


@pytest.mark.parametrize(
    ("kind", "low", "high", "wanted"),
    [
        ("uint8", 3, 200, (0, 255)),
        ("uint16", 0, 1023, (0, 1023)),
        ("uint16", 0, 1024, (0, 2047)),
        ("float32", 0, 0.9, (0, 1)),
        ("float32", 0, 200, (0, 255)),
        ("float32", -2, 3, (-2, 3)),
        ("int16", -5, 300, (-5, 300)),
    ],
)
def test_the_range_is_that_of_bits_for_whole_numbers_and_of_values_for_floats(
    pictures, tmp_path, kind, low, high, wanted
):
    found = scan_images(pictures, tmp_path / "s.jsonl", channels=4).channels
    assert found._replace(kind=kind, low=low, high=high).value_range() == wanted


def test_files_without_colours_or_with_others_are_counted_by_kind(pictures, tmp_path):
    found = scan_images(pictures, tmp_path / "s.jsonl")
    assert found.good == []
    assert "4 channels of uint16: --channels 4 reads them" in found.bad[0][1]
    assert one_kind(found, None) == 4
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "a/z.png")
    other = str(write(tmp_path / "a/w.tif", noise(64, 64, 5), photometric="minisblack"))
    mixed = [*pictures, str(tmp_path / "a/z.png"), other]
    with pytest.raises(PretrainError) as error:
        one_kind(scan_images(mixed, tmp_path / "s.jsonl"), None)
    for text in ("2 of 4 channels of uint16 (", "x.tif the first)", "1 of 5 channels of uint8 ("):
        assert text in str(error.value)
    assert "1 of pictures of 1 or 3 channels, or no TIFF (" in str(error.value)
    with pytest.raises(
        PretrainError, match=r"^--channels 7: the files are others: 2 of 4 channels"
    ):
        one_kind(scan_images(pictures, tmp_path / "t.jsonl", channels=7), 7)
    with pytest.raises(PretrainError, match=r"differ between the files: 2 of 4 .*1 of pictures"):
        one_kind(scan_images(mixed[:3], tmp_path / "t.jsonl", channels=4), 4)
    # A picture may be read as channels: that gives its 16 bits.
    rgb = str(write(tmp_path / "rgb.tif", spread(64, 64, 3)))
    assert scan_images([rgb], tmp_path / "t.jsonl").good == [rgb]
    assert scan_images([rgb], tmp_path / "t.jsonl", channels=3).channels.bits == 12


def test_a_library_that_is_not_there_is_named_with_the_file(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(tiff_file, "tifffile", None)
    monkeypatch.setattr(tile_scan, "tifffile", None)
    for channels in (None, 4):
        found = scan_images(pictures, tmp_path / f"{channels}.jsonl", channels=channels)
        assert len(found.bad) == 2
        assert "needs tifffile: pip install tifffile imagecodecs" in found.bad[0][1]
        assert one_kind(found, channels) is None  # which is no matter of channels


def test_a_first_convolution_is_dealt_in_turn_and_keeps_the_response_to_equal_channels():
    weight = torch.tensor([[1.0, 10.0, 100.0]])[..., None, None]
    table = {
        1: [111],
        2: [51, 60],
        3: [1, 10, 100],
        4: [0.5, 10, 100, 0.5],
        5: [0.5, 5, 100, 0.5, 5],
        8: [1 / 3, 10 / 3, 50, 1 / 3, 10 / 3, 50, 1 / 3, 10 / 3],
    }
    for channels, wanted in table.items():
        found = widen(weight, channels)
        assert found.shape == (1, channels, 1, 1)
        assert torch.allclose(found.ravel(), torch.tensor(wanted, dtype=torch.float32))
        assert torch.allclose(found.sum(), weight.sum())


def test_only_a_convolution_of_three_channels_is_widened(capsys):
    state = dict(conv=torch.rand(8, 3, 7, 7), other=torch.rand(8, 3, 5, 5), norm=torch.rand(8))
    wanted = dict(conv=torch.rand(8, 4, 7, 7), other=torch.rand(8, 4, 7, 7), norm=torch.rand(9))
    found = widened(state, wanted)
    assert found["conv"].shape == (8, 4, 7, 7)
    assert found["other"] is state["other"]
    assert found["norm"] is state["norm"]
    assert "conv: red, green and blue dealt in turn to 4 channels" in capsys.readouterr().out


def test_a_backbone_that_takes_pictures_alone_is_refused():
    assert backbone_config("resnet18", 32, 1, 13)["in_channels"] == 13
    assert backbone_config("ConvNeXt:tiny", 64, 1, 4)["in_channels"] == 4
    assert "in_channels" not in backbone_config("resnet18", 32, 1)
    with pytest.raises(PretrainError, match="MobileNetV2 takes images of 3 channels alone"):
        backbone_config("MobileNetV2", 64, 1, 4)


def test_weights_that_are_used_to_bgr_do_not_begin_a_run_on_channels():
    choices = Choices("resnet18", 32, inputs=Inputs((103.5, 116.3, 123.7), (1, 1, 1), "BGR"))
    with pytest.raises(PretrainError, match=r"as BGR, mean 103.5 116.3 123.7, std 1 1 1, .* to 4"):
        take_channels(choices, 4)
    choices.inputs = None  # ImageNet's
    take_channels(choices, 4)
    assert (choices.in_channels, choices.why["in_channels"]) == (4, "those of the files")


def test_a_tiff_of_channels_among_more_pictures_is_left_out_and_counted(pictures, tmp_path):
    photos = []
    for seed in range(3):
        photos.append(str(tmp_path / f"{seed}.png"))
        Image.fromarray(noise(64, 64, 3, seed=seed)).save(photos[-1])
    found = look_for_training([*photos, pictures[0]], tmp_path, {})
    assert (found.good, found.channels) == (photos, None)
    ((path, reason),) = found.bad
    assert path == pictures[0]
    assert "--channels 4 reads them" in reason
    (note,) = found.notes
    assert note.startswith("1 TIFF of many channels (1 of 4 channels of uint16; ")
    assert note in "\n".join(describe(found))
    for listed, asked in (([photos[0], *pictures], {}), ([*photos, pictures[0]], {"channels": 4})):
        with pytest.raises(PretrainError, match="the channels differ between the files"):
            look_for_training(listed, tmp_path, asked)
