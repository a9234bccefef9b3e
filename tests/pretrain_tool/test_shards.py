# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A pretraining on a set of shards, up to its training; tests/matrix has a whole one."""

import re
import shutil

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from xmoco_plugin.data.shards import write_shards

from ..data.shards.conftest import server  # noqa: F401
from ..pretraining.folder import draw
from ..tool_modules import run_tool
from .command import FAST, refused


@pytest.fixture
def begin(tool, monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "train", lambda *_: 0)
    monkeypatch.setattr(tool.end, "finish", lambda *_: None)
    # All are set by the command, for its training.
    monkeypatch.setenv("XMOCO_SHARDS", "")
    monkeypatch.setenv("XMOCO_SHARDS_GB", "")
    monkeypatch.setenv("XMOCO_NAMED_SET", "")
    draw(tmp_path / "images", 12, side=16)
    (tmp_path / "images" / "cut.png").write_bytes((tmp_path / "images/000.png").read_bytes()[:300])
    fixed = ("--out", tmp_path / "run", "--model", "resnet18", *FAST)
    return lambda *words: run_tool(tool, monkeypatch, *words, *fixed)


def test_a_run_on_a_bucket_names_the_set_and_holds_no_credentials(
    begin,
    server,  # noqa: F811
    monkeypatch,
    tmp_path,
    capsys,
):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-word")
    write_shards(tmp_path / "images", "s3://bucket/pretrain")
    words = ("--data", "s3://bucket/pretrain", "--cache", tmp_path / "cache", "--cache-gb", 1)
    assert begin(*words) == 0
    said = capsys.readouterr()
    assert "a sample of 13 images: 12 readable, 1 unreadable" in said.out
    loader = Config.fromfile(tmp_path / "run" / "config.py").train_dataloader
    assert loader.sampler.type == "ShardSampler"
    assert loader.dataset.data_root == "s3://bucket/pretrain"
    assert list((tmp_path / "cache").rglob("00000.tar"))
    files = [p for p in tmp_path.rglob("*") if p.is_file()]
    secret = [p for p in files if b"a-secret-word" in p.read_bytes()]
    assert secret == []
    assert "a-secret-word" not in said.out + said.err
    # Where shards are kept is nothing of the run: the same command goes on without it.
    assert begin("--data", "S3://bucket/pretrain/") == 0
    assert "12 images as before" in capsys.readouterr().out
    # A run whose config names another bucket than its user does is not followed there.
    config = tmp_path / "run" / "config.py"
    config.write_text(config.read_text().replace("s3://bucket/pretrain", "s3://stranger/set"))
    assert begin("--data", "s3://bucket/pretrain") == 2
    assert "s3://stranger/set' is on another machine" in capsys.readouterr().err


def test_a_set_that_changed_is_refused(begin, tmp_path, capsys):
    write_shards(tmp_path / "images", str(tmp_path / "set"))
    assert begin("--data", tmp_path / "set") == 0
    for file in (tmp_path / "set").rglob("*.*"):
        file.unlink()
    draw(tmp_path / "images", 9, side=16, seed=5)
    write_shards(tmp_path / "images", str(tmp_path / "set"))
    assert begin("--data", tmp_path / "set") == 2
    assert "is another set than when the run began" in capsys.readouterr().err


def test_what_a_set_of_shards_has_not_is_named_at_once(tool, monkeypatch, tmp_path, capsys):
    draw(tmp_path / "images", 9, side=16)
    write_shards(tmp_path / "images", str(tmp_path / "set"))
    cache = ("--cache", tmp_path, "--cache-gb", 1)
    words = ("--data", tmp_path / "set", *cache, "--out", tmp_path / "run")
    said = refused(tool, monkeypatch, capsys, *words)
    assert "--cache: only shards of a bucket are kept, and --data names none." in said
    assert "--cache-gb: only" in said
    words = ("--data", tmp_path / "set", "s3://K:S3CRET@bucket/set")
    said = refused(tool, monkeypatch, capsys, *words, "--out", tmp_path / "run")
    assert "a set of shards is named alone" in said
    assert "credentials have no place in the name" in said
    assert "S3CRET" not in said


def test_of_labels_beside_a_sample_no_more_is_claimed_than_it_shows(begin, tmp_path, capsys):
    write_shards(tmp_path / "images", str(tmp_path / "set"))
    for kind, numbers in (("a", range(4)), ("b", range(4, 8))):
        (tmp_path / "labels" / kind).mkdir(parents=True)
        for number in numbers:
            shutil.copy(tmp_path / "images" / f"{number:03}.png", tmp_path / "labels" / kind)
    assert begin("--data", tmp_path / "set", "--labels", tmp_path / "labels") == 0
    assert "at least 8 of them trained on" in capsys.readouterr().out
    assert "labels_trained_on='at least 8'" in (tmp_path / "run" / "config.py").read_text()


def test_the_bit_depth_that_is_given_is_that_of_images_in_shards(begin, tmp_path):
    write_shards(tmp_path / "images", str(tmp_path / "set"))
    assert begin("--data", tmp_path / "set", "--bit-depth", 12) == 0
    assert "bit_depth=12" in (tmp_path / "run" / "config.py").read_text()


def test_pictures_and_tiffs_of_many_channels_in_one_set_are_refused(begin, tmp_path, capsys):
    tifffile = pytest.importorskip("tifffile")
    values = np.random.default_rng(0).integers(0, 256, (4, 16, 16), np.uint8)
    file = tmp_path / "images" / "a.tif"
    tifffile.imwrite(file, values, photometric="minisblack", planarconfig="separate")
    write_shards(tmp_path / "images", str(tmp_path / "set"))
    assert begin("--data", tmp_path / "set") == 2
    said = "the channels differ between the files: 12 of pictures .* 1 of 4 channels of uint8"
    assert re.search(said, capsys.readouterr().err)


def test_a_set_of_images_of_one_colour_is_refused(begin, tmp_path, capsys):
    (tmp_path / "grey").mkdir()
    for number in range(9):
        Image.new("L", (16, 16), number).save(tmp_path / "grey" / f"{number}.png")
    write_shards(tmp_path / "grey", str(tmp_path / "set"))
    assert begin("--data", tmp_path / "set") == 2
    assert "contrast needs other images" in capsys.readouterr().err
    assert not (tmp_path / "run" / "shards.txt").exists()
