# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/embed.py: a row for each readable image, in order, equal to the backbone's own features."""

import csv
import importlib
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from . import models
from .tool_modules import import_tool, run_tool

SIZE = 8
NAMES = ["a/0.png", "a/1.png", "b/é, 2.png"]


@pytest.fixture
def run(monkeypatch):
    tool = partial(run_tool, import_tool("embed"), monkeypatch)
    return lambda *words: tool(*words, "--image-size", SIZE, "--workers", 0, "--batch-size", 2)


@pytest.fixture
def folder(tmp_path):
    """Images of the crop's own size, so that resizing does nothing to the middle but scale."""
    for i, name in enumerate(NAMES):
        file = tmp_path / "photos" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (9, 9, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    return tmp_path / "photos"


@pytest.fixture
def saved(tmp_path):
    """A checkpoint file and its model."""
    path = tmp_path / "epoch_1.pth"
    return path, models.save_checkpoint(path)


@pytest.fixture
def checkpoint(saved):
    return saved[0]


@pytest.fixture
def model(saved):
    return saved[1]


def expected(model, folder) -> np.ndarray:
    """By hand: the centre of each image, scaled to the mean and width of the preprocessor."""
    rows = []
    for name in NAMES:
        pixels = np.asarray(Image.open(folder / name), dtype=np.float32)[..., ::-1]
        assert pixels.shape[0] == round(SIZE * 8 / 7)  # nothing to resize
        crop = (pixels[:SIZE, :SIZE].copy() - 128) / 64
        with torch.no_grad():
            maps = model.eval().backbone(torch.from_numpy(crop).permute(2, 0, 1)[None])[-1]
        rows.append(maps.mean((2, 3))[0].numpy())
    return np.stack(rows)


def test_features_are_the_backbones_in_the_order_of_the_names(run, folder, checkpoint, model):
    out = folder.parent / "e.npz"
    assert run(checkpoint, folder, "--out", out) == 0
    found = np.load(out)
    assert found["names"].tolist() == NAMES
    assert found["features"].dtype == np.float32
    # CenterCrop's corner of a 9 x 9 image is (0, 0): it rounds half a pixel to even.
    assert np.allclose(found["features"], expected(model, folder), atol=1e-5)
    assert run(checkpoint, folder, "--out", out, "--normalize") == 0
    assert np.allclose(np.linalg.norm(np.load(out)["features"], axis=1), 1)


def test_csv_and_parquet_hold_the_same_numbers(run, folder, checkpoint):
    parquet = importlib.import_module("pyarrow.parquet")
    outs = {kind: folder.parent / f"e.{kind}" for kind in ("npz", "csv", "parquet")}
    assert run(checkpoint, folder, "--out", outs["npz"]) == 0
    features = np.load(outs["npz"])["features"]
    assert run(checkpoint, folder, "--out", outs["csv"]) == 0
    with open(outs["csv"], newline="", encoding="utf-8") as file:
        head, *rows = csv.reader(file)
    assert head[:2] == ["name", "f0"]
    assert [row[0] for row in rows] == NAMES
    assert np.array_equal(np.array([row[1:] for row in rows], dtype=np.float32), features)
    assert run(checkpoint, folder, "--out", outs["parquet"]) == 0
    table = parquet.read_table(outs["parquet"])
    assert table["name"].to_pylist() == NAMES
    assert np.array_equal(np.array(table["feature"].to_pylist(), dtype=np.float32), features)


def test_bad_files_are_named_and_left_out(run, folder, checkpoint, capsys):
    (folder / "a" / "0.png").write_bytes((folder / "a" / "0.png").read_bytes()[:60])
    (folder / "b" / "note.jpg").write_text("no image")
    assert run(checkpoint, folder, "--out", folder.parent / "e.npz") == 0
    said = capsys.readouterr()
    assert "left out: a/0.png: " in said.err
    assert "left out: b/note.jpg: " in said.err
    assert "2 images x 16 numbers; 2 left out" in said.out
    assert f"image size {SIZE} px: --image-size" in said.err
    assert np.load(folder.parent / "e.npz")["names"].tolist() == NAMES[1:]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("all unreadable", "none of its 3 images can be read"),
        ("no images", "no images in"),
        ("no out folder", "there is no folder"),
        ("suffix", "ends in none of .npz, .csv, .parquet"),
        ("no pyarrow", "pip install pyarrow"),
        ("not a checkpoint", "epoch_1.pth"),
    ],
)
def test_what_cannot_be_done_is_one_message_and_overwrites_nothing(
    run, folder, checkpoint, capsys, monkeypatch, change, message
):
    out = folder.parent / "e.npz"
    if change == "all unreadable":
        for name in NAMES:
            (folder / name).write_text("x")
    elif change == "no images":
        for name in NAMES:
            (folder / name).unlink()
    elif change == "no out folder":
        out = folder.parent / "none" / "e.npz"
    elif change == "suffix":
        out = folder.parent / "e.txt"
    elif change == "no pyarrow":
        out = folder.parent / "e.parquet"
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    else:
        checkpoint.write_text("text")
    if out.parent.is_dir():
        out.write_text("before")
    status = run(checkpoint, folder, "--out", out)
    said = capsys.readouterr().err
    assert status == 2
    assert message in said
    assert "Traceback" not in said
    assert not out.parent.is_dir() or out.read_text() == "before"
