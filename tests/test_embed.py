# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/embed.py: a row for each readable image, in order, equal to the backbone's own features."""

import csv
import importlib
import os
import re
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


@pytest.mark.timeout(120)
def test_what_is_no_image_file_is_left_out_and_named(run, checkpoint, folder, tmp_path, capsys):
    (folder / "a" / "post.jpg").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\nshowpage\n")
    os.mkfifo(folder / "a" / "pipe.jpg")
    (folder / "a" / "zero.jpg").symlink_to("/dev/zero")
    (folder / "a" / "folder.jpg").mkdir()
    with open(folder / "a" / "large.jpg", "wb") as file:
        file.truncate(60 << 30)
    assert run(checkpoint, folder, "--out", tmp_path / "x.npz", "--max-pixels", 90) == 0
    said = capsys.readouterr().err
    for name, reason in {
        "post": "PostScript, not one of the formats read",
        "pipe": "not a regular file: a named pipe",
        "zero": "not a regular file: a device",
        "folder": "not a regular file: a folder",
        "large": "64.4 GB, the limit is 1.1 GB",
    }.items():
        assert re.search(rf"left out: a/{name}\.jpg: .*{reason}", said), name
    assert len(np.load(tmp_path / "x.npz")["names"]) == len(NAMES)
    assert run(checkpoint, folder, "--out", tmp_path / "y.npz", "--max-pixels", 80) == 2
    assert "above the limit of 80 pixels" in capsys.readouterr().err


HOSTILE = (
    b"=HYPERLINK(1)",
    b"@sum",
    b"-1",
    b"+1",
    b"'=",
    b"\xff\xfe",
    b"\x1b]0;t\x07",
    b"a\nb",
    b'a,"b',
    b"\tx",
)
WRITTEN = (
    "=HYPERLINK(1)",
    "@sum",
    "-1",
    "+1",
    "'=",
    r"\xff\xfe",
    r"\x1b]0;t\x07",
    r"a\nb",
    'a,"b',
    r"\tx",
)


@pytest.fixture
def hostile(folder):
    """Images whose names are no text, move a cursor, break a line or are a formula."""
    place = os.fsencode(folder.parent / "hostile")
    os.mkdir(place)
    for name in HOSTILE:
        with open(os.path.join(place, name + b".png"), "wb") as file:
            file.write((folder / NAMES[0]).read_bytes())
    with open(os.path.join(place, b"\x1b[31mbad\nname.png"), "wb") as file:
        file.write(b"no image")
    return folder.parent / "hostile"


@pytest.mark.parametrize("kind", ["npz", "csv", "parquet"])
def test_names_are_bytes_and_are_written_escaped(run, hostile, checkpoint, capsys, kind):
    out = hostile.parent / f"e.{kind}"
    assert run(checkpoint, hostile, "--out", out) == 0
    expected = sorted(f"{name}.png" for name in WRITTEN)
    if kind == "csv":
        rows = [row[0] for row in csv.reader(out.read_text("utf-8").splitlines())][1:]
        assert sorted(rows) == sorted(f"'{n}" if n[0] in "=+-@'" else n for n in expected)
        assert run(checkpoint, hostile, "--out", out, "--plain-names") == 0
        found = [row[0] for row in csv.reader(out.read_text("utf-8").splitlines())][1:]
    elif kind == "npz":
        found = np.load(out)["names"].tolist()
    else:
        found = importlib.import_module("pyarrow.parquet").read_table(out)["name"].to_pylist()
    assert sorted(found) == expected
    said = capsys.readouterr()
    assert r"left out: \x1b[31mbad\nname.png: " in said.err
    assert all(sign.isprintable() or sign == "\n" for sign in said.out + said.err)


def test_features_that_are_not_finite_are_not_written(run, folder, saved, capsys):
    path, model = saved
    # Finite weights: the convolution overflows, and infinity times zero is NaN.
    torch.nn.init.constant_(model.backbone.conv.weight, 3e38)
    torch.nn.init.zeros_(model.backbone.norm.weight)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "state_dict": model.state_dict()}, path)
    assert run(path, folder, "--out", folder.parent / "e.npz") == 2
    said = capsys.readouterr().err
    assert "the features of 3 of 3 images hold NaN or infinity, the first of them those of" in said
    assert "'a/0.png'" in said
    assert not (folder.parent / "e.npz").exists()


@pytest.mark.parametrize("where", ["stored", "beside"])
def test_a_stored_config_builds_registered_classes_only(run, folder, saved, capsys, where):
    path, _ = saved
    mark = folder.parent / "mark"
    content = torch.load(path, weights_only=True)
    text = content["meta"]["cfg"]
    hostile = text.replace("type='XMoCoHead'", f"type='os.mkdir', path={str(mark)!r}")
    assert hostile != text
    content["meta"] = {"cfg": hostile}
    if where == "beside":
        content["meta"] = {"exported_by": "someone"}
        (path.parent / "config.py").write_text(hostile)
    torch.save(content, path)
    assert run(path, folder, "--out", folder.parent / "e.npz") == 2
    said = capsys.readouterr().err
    assert not mark.exists()
    file = path if where == "stored" else path.parent / "config.py"
    assert f"error: {file}: model.head.type: type 'os.mkdir' is no registered class" in said
    assert "--config" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "cfg", [5, [], {"model": 1}, "model = dict(", "[" * 100_000, "model = 5", "_base_ = 'x.py'"]
)
def test_a_stored_config_that_is_none_is_one_message(run, folder, saved, capsys, cfg):
    path, _ = saved
    content = torch.load(path, weights_only=True)
    torch.save({**content, "meta": {"cfg": cfg}}, path)
    assert run(path, folder, "--out", folder.parent / "e.npz") == 2
    assert "does not say which model it belongs to: name its --config" in capsys.readouterr().err


def test_views_that_no_image_has_are_not_made(folder, saved, monkeypatch, capsys):
    path, _ = saved
    content = torch.load(path, weights_only=True)
    text = content["meta"]["cfg"]
    text += "custom_hooks = [dict(type='ProgressiveSizeHook', last=10**9)]\n".replace(
        "10**9", "9" * 9
    )
    torch.save({**content, "meta": {"cfg": text}}, path)
    tool = import_tool("embed")
    assert run_tool(tool, monkeypatch, path, folder, "--out", folder.parent / "e.npz") == 2
    assert "makes views of 999,999,999 px" in capsys.readouterr().err
