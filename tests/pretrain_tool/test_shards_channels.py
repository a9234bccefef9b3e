# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""TIFFs of many channels in shards: a sample says how all are read, and what is other is named."""

from functools import partial

import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain.registry import DATASETS

from xmoco_plugin import pretraining as own
from xmoco_plugin.data.load_channels import LoadChannelsOrSkip
from xmoco_plugin.data.shards import ShardSet, write_shards
from xmoco_plugin.data.shards.writer import _hash
from xmoco_plugin.pretraining.memory import StepCost

from ..format_once import leave_unformatted
from ..pretraining.folder import draw
from ..tool_modules import run_tool
from .command import FAST

pytest.importorskip("tifffile")
from ..data.tiffs import noise, write

CHANNELS = 5
SAMPLED = 10  # images that are looked at


@pytest.fixture
def begin(tool, monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "train", lambda *_: 0)
    monkeypatch.setattr(tool.end, "finish", lambda *_: None)
    monkeypatch.setenv("XMOCO_NAMED_SET", "")
    monkeypatch.setattr(own, "scan_shards", partial(own.scan_shards, most=SAMPLED))
    cost = StepCost(fixed=10**6, per_image=10**5, seconds_per_image=1e-3, checkpoint=10**6)
    monkeypatch.setattr(own, "measure_step", lambda *_: cost)
    leave_unformatted(monkeypatch)
    (tmp_path / "images").mkdir()
    words = ("--data", tmp_path / "set", "--out", tmp_path / "run", "--model", "resnet18", *FAST)

    def start(*more):
        write_shards(tmp_path / "images", str(tmp_path / "set"))
        return run_tool(tool, monkeypatch, *words, *more)

    return start


def beyond(folder, number: int) -> list:
    """Paths that lie in a set, which is in the order of a hash, behind those that are sampled."""
    last = sorted((p.name for p in folder.iterdir()), key=_hash)[SAMPLED - 1]
    names = (f"other{i}" for i in range(10_000))
    later = (name for name in names if _hash(f"{name}.tif") > _hash(last))
    return [folder / f"{name}.tif" for name, _ in zip(later, range(number), strict=False)]


def loaded(folder, monkeypatch) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Pixels by name as a run's training reads them, and why what is not read is not."""
    settings = Config.fromfile(str(folder / "run" / "config.py")).train_dataloader.dataset
    settings["pipeline"] = settings["pipeline"][:1]
    dataset, found, bad = DATASETS.build(settings), {}, {}
    reader = dataset.pipeline.transforms[0]
    fail = reader._fail

    def note(path, reason):
        bad[path] = reason
        fail(path, reason)

    monkeypatch.setattr(reader, "_fail", note)
    for number in range(len(dataset)):
        sample = dataset.prepare_data(number)
        if sample is not None:
            found[sample["img_path"]] = sample["img"]
    return found, bad


def test_what_the_sample_has_is_how_all_tiffs_are_read(begin, tmp_path, monkeypatch, capsys):
    images = tmp_path / "images"
    for number in range(SAMPLED + 4):
        pixels = noise(16, 16, CHANNELS, "uint16", number)
        write(images / f"{number}.tif", pixels, planar=number % 2 == 1)
    fewer, bytes_of_8, picture = beyond(images, 3)
    write(fewer, noise(16, 16, 2, "uint16"))
    write(bytes_of_8, noise(16, 16, CHANNELS, "uint8"))
    draw(tmp_path / "one", 1, side=16)
    (tmp_path / "one" / "000.png").rename(picture)
    assert begin() == 0
    said = capsys.readouterr().out
    assert f"a sample of {SAMPLED + 7} images: {SAMPLED} readable, 0 unreadable" in said
    assert "channels: 5 of uint16" in said
    found, bad = loaded(tmp_path, monkeypatch)
    assert bad == {
        fewer.name: "2 channels of uint16, and 5 are read",
        bytes_of_8.name: "5 channels of uint8, and values of uint16 are read",
        picture.name: "no TIFF",
    }
    reader = Config.fromfile(str(tmp_path / "run" / "config.py")).train_dataloader.dataset.pipeline
    settings = {k: v for k, v in reader[0].items() if k != "type"}
    for name, pixels in found.items():  # as from the file itself
        alone = LoadChannelsOrSkip(**settings)({"img_path": str(images / name)})
        assert pixels.shape == (16, 16, CHANNELS)
        assert (pixels == alone["img"]).all()
    assert len(found) == SAMPLED + 4


def test_a_tiff_of_many_channels_beyond_the_sample_is_named_and_not_read_as_colour(
    begin, tmp_path, monkeypatch
):
    draw(tmp_path / "images", SAMPLED + 3, side=16)
    (other,) = beyond(tmp_path / "images", 1)
    write(other, noise(16, 16, CHANNELS), planar=True)
    assert begin() == 0
    found, bad = loaded(tmp_path, monkeypatch)
    assert bad == {other.name: "5 channels of uint8: --channels 5 of pretrain reads them"}
    assert len(found) == SAMPLED + 3


def test_channels_that_the_sample_has_not_are_refused(begin, tmp_path, capsys):
    for number in range(SAMPLED):
        write(tmp_path / "images" / f"{number}.tif", noise(16, 16, CHANNELS, seed=number))
    assert begin("--channels", 3) == 2
    said = "--channels 3: the files are others: 10 of 5 channels of uint8"
    assert said in capsys.readouterr().err
    assert begin("--channels", CHANNELS) == 0
    assert len(ShardSet(str(tmp_path / "set"))) == SAMPLED
