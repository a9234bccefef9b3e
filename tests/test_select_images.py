# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""xmoco select: what is picked, what is left out, and what is said of it."""

import csv
import os
import shutil
import sys
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from xmoco_plugin.evaluation.selection import k_centre, typical

from . import models
from .tool_modules import import_tool, run_tool

SIZE = 8
HUES = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}


@pytest.fixture
def run(monkeypatch):
    tool = partial(run_tool, import_tool("select_images"), monkeypatch)
    return lambda *words: tool(*words, "--image-size", SIZE, "--workers", 0)


@pytest.fixture
def folder(tmp_path):
    """Five, four and three pictures of three colours."""
    for number, (name, colour) in enumerate(HUES.items()):
        for i in range(5 - number):
            pixels = np.random.default_rng(9 * number + i).integers(-20, 20, (9, 9, 3)) + colour
            file = tmp_path / "photos" / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return tmp_path / "photos"


@pytest.fixture
def weights(tmp_path):
    (tmp_path / "run").mkdir()
    models.save_checkpoint(tmp_path / "run" / "backbone.pth")
    return tmp_path / "run" / "backbone.pth"


def embedded(folder, weights, monkeypatch) -> tuple[list[str], torch.Tensor]:
    """Names and unit-norm features, as `xmoco embed` writes them."""
    out = folder.parent / "e.npz"
    words = [weights, folder, "--out", out, "--image-size", SIZE, "--workers", 0, "--normalize"]
    assert run_tool(import_tool("embed"), monkeypatch, *words) == 0
    found = np.load(out)
    return found["names"].tolist(), torch.from_numpy(found["features"])


def rows_of(file) -> list[dict]:
    return list(csv.DictReader(file.read_text("utf-8").splitlines()))


def test_a_run_picks_by_the_features_that_embed_writes_and_says_why(
    run, folder, weights, monkeypatch, capsys
):
    names, features = embedded(folder, weights, monkeypatch)
    none = torch.zeros(len(names), dtype=torch.bool)
    out = folder.parent / "picked.csv"
    assert run(weights.parent, folder, "--number", 3, "--out", out, "--seed", 1) == 0
    expected = typical(features, none, 3, seed=1)
    assert [row["file"] for row in rows_of(out)] == [names[found.row] for found in expected]
    assert {row["file"].split("/")[0] for row in rows_of(out)} == set(HUES)  # one of each colour
    assert [int(row["images"]) for row in rows_of(out)] == [5, 4, 3]
    assert [int(row["cluster"]) for row in rows_of(out)] == [1, 2, 3]
    assert float(rows_of(out)[0]["typicality"]) == pytest.approx(expected[0].typicality, rel=1e-3)
    assert "3 of 12 images, from 3 clusters of 3 to 5" in capsys.readouterr().out
    assert run(weights, folder, "-n", 4, "--out", out, "--method", "k-centre") == 0
    expected = k_centre(features, none, 4)
    assert [row["file"] for row in rows_of(out)] == [names[found.row] for found in expected]
    assert [row["rank"] for row in rows_of(out)] == ["1", "2", "3", "4"]
    assert rows_of(out)[0]["distance"] == rows_of(out)[0]["nearest"] == ""
    assert rows_of(out)[1]["nearest"] == names[expected[0].row]
    assert float(rows_of(out)[3]["distance"]) == pytest.approx(expected[3].distance, abs=1e-5)


def test_what_is_labelled_is_not_picked_by_place_by_content_and_by_list(
    run, folder, weights, capsys
):
    elsewhere = folder.parent / "labelled"
    elsewhere.mkdir()
    shutil.copy(folder / "red" / "0.png", elsewhere / "copied.png")
    listed = folder.parent / "earlier.txt"
    listed.write_text("photos/green/0.png\n\nphotos/green/1.png\n")
    out, again = folder.parent / "picked.txt", folder.parent / "more.txt"
    given = ["--labelled", elsewhere, listed]
    assert run(weights, folder, "-n", 9, "--out", out, *given) == 0
    assert "3 of 12 images of" in capsys.readouterr().out
    picked = out.read_text().splitlines()
    assert len(set(picked)) == 9
    assert all(os.path.isabs(path) and os.path.isfile(path) for path in picked)
    known = {str(folder / name) for name in ("red/0.png", "green/0.png", "green/1.png")}
    assert not known & set(picked)
    out.write_text("".join(f"{line}\n" for line in picked[:7]))
    assert run(weights, folder, "-n", 2, "--out", again, *given, out) == 0  # a list of ours
    assert set(again.read_text().splitlines()) == set(picked[7:])


def test_blue_is_next_when_red_and_green_have_labels(run, folder, weights):
    out = folder.parent / "picked.csv"
    for method in ("typical", "k-centre"):
        words = ["--labelled", folder / "red", folder / "green" / "0.png", "--method", method]
        assert run(weights, folder, "-n", 1, "--out", out, *words) == 0
        assert rows_of(out)[0]["file"].startswith("blue/"), method


def test_bad_files_are_named_and_left_out(run, folder, weights, capsys):
    (folder / "red" / "0.png").write_bytes((folder / "red" / "0.png").read_bytes()[:60])
    shutil.copy(folder / "red" / "1.png", folder / "a\nb.png")
    (folder / "note.md").write_text("x")
    out = folder.parent / "picked.txt"
    assert run(weights, folder, "-n", 11, "--out", out) == 0
    said = capsys.readouterr()
    assert "left out: red/0.png: " in said.err
    assert r"left out: a\nb.png: its name holds a line break" in said.err
    assert "passed over in" in said.err
    assert "11 of 11 images" in said.out
    assert said.out.rstrip().endswith("; 2 left out")
    assert run(weights, folder, "-n", 12, "--out", out) == 2
    assert (
        f"-n 12: {folder} has 11 readable images that have no label yet" in capsys.readouterr().err
    )
    assert len(out.read_text().splitlines()) == 11


def test_copies_are_said_where_farthest_first_comes_to_them(run, folder, weights, capsys):
    shutil.rmtree(folder / "red")
    shutil.rmtree(folder / "blue")
    shutil.copy(folder / "green" / "0.png", folder / "green" / "copy.png")
    out = folder.parent / "picked.csv"
    assert run(weights, folder, "-n", 5, "--out", out, "--method", "k-centre") == 0
    assert "from rank 5 on, each image is to the backbone the same as" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("too many", "-n 13: {folder} has 12 images that have no label yet"),
        ("empty", "no images in {folder}"),
        ("alike", "the features of all 12 images are alike"),
        ("no run", "{run} is a folder without backbone.pth"),
        ("no out folder", "there is no folder"),
        ("suffix", "ends in none of .csv, .txt"),
        ("no scikit-learn", "--method k-centre does not"),
        ("no labelled", "--labelled none.txt: there is no such file or folder"),
        ("archive", "an archive is not unpacked here"),
        ("list", "line 1: there is no file"),
    ],
)
def test_what_cannot_be_done_is_one_message_and_overwrites_nothing(
    run, folder, weights, capsys, monkeypatch, tmp_path, change, message
):
    monkeypatch.chdir(tmp_path)
    out, words, number = tmp_path / "picked.csv", [], 2
    if change == "too many":
        number = 13
    elif change == "empty":
        shutil.rmtree(folder)
        folder.mkdir()
    elif change == "alike":
        first = (folder / "red" / "0.png").read_bytes()
        for file in folder.rglob("*.png"):
            file.write_bytes(first)
    elif change == "no run":
        weights.unlink()
    elif change == "no out folder":
        out = tmp_path / "none" / "picked.csv"
    elif change == "suffix":
        out = tmp_path / "picked.json"
    elif change == "no scikit-learn":
        monkeypatch.setitem(sys.modules, "sklearn.cluster", None)
    else:
        (tmp_path / "x.zip").write_bytes(b"PK")
        (tmp_path / "list.txt").write_text("gone.png\n")
        names = {"no labelled": "none.txt", "archive": "x.zip", "list": "list.txt"}
        words = ["--labelled", names[change]]
    if out.parent.is_dir():
        out.write_text("before")
    assert run(weights.parent, folder, "-n", number, "--out", out, *words) == 2
    said = capsys.readouterr().err
    assert message.format(folder=folder, run=weights.parent) in said
    assert "Traceback" not in said
    assert not out.parent.is_dir() or out.read_text() == "before"
