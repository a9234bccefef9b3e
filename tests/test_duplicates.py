# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""xmoco duplicates: groups, leaks, the list that a pretraining takes, and what is said."""

import csv
import json
import os
import shutil
from functools import partial

import cv2
import pytest

from xmoco_plugin.cli.options import duplicates as options
from xmoco_plugin.data import fingerprint
from xmoco_plugin.pretraining import list_images

from .data.test_near_duplicates import jpeg, picture
from .tool_modules import import_tool, parse, run_tool


@pytest.fixture
def run(monkeypatch):
    tool = partial(run_tool, import_tool("duplicates"), monkeypatch)
    return lambda *words: tool(*words, "--workers", 0)


@pytest.fixture
def folder(tmp_path):
    """Four pictures; of the first an exact copy in another format, of the second a near one."""
    root = tmp_path / "photos"
    (root / "more").mkdir(parents=True)
    for number in range(4):
        cv2.imwrite(str(root / f"{number}.png"), picture(number))
    cv2.imwrite(str(root / "more" / "copy.bmp"), picture(0))
    cv2.imwrite(str(root / "more" / "again.jpg"), picture(1)[:-1, :-2])
    return root


def rows_of(file) -> list[dict]:
    return list(csv.DictReader(file.read_text("utf-8").splitlines()))


def test_groups_are_written_and_a_list_of_one_of_each_is_what_a_pretraining_takes(
    run, folder, tmp_path, capsys
):
    out, kept, page = tmp_path / "d.csv", tmp_path / "kept.txt", tmp_path / "d.html"
    assert run(folder, "--out", out, "--one-per-group", kept, "--sheet", page) == 0
    said = capsys.readouterr().out
    assert "1 of 6 (16.7 %) images are another one, pixel by pixel; 1 of 6 (16.7 %) look" in said
    assert "2 groups, the largest of 2 images" in said
    path = lambda name: str(folder / name)  # noqa: E731
    assert [(row["group"], row["file"], row["how"], row["like"]) for row in rows_of(out)] == [
        ("1", path("0.png"), "kept", ""),
        ("1", path("more/copy.bmp"), "exact", path("0.png")),
        ("2", path("1.png"), "kept", ""),
        ("2", path("more/again.jpg"), "near", path("1.png")),
    ]
    assert 0 <= int(rows_of(out)[3]["bits"]) <= options.NEAR
    assert list_images([str(kept)], tmp_path) == [path(f"{number}.png") for number in range(4)]
    assert page.read_text().count("<img ") == 4
    assert "group 2: 2 images" in page.read_text()
    assert run(folder, "--exact", "--one-per-group", kept) == 0
    assert len(kept.read_text().splitlines()) == 5
    assert "look like" not in capsys.readouterr().out


def test_images_to_judge_by_that_were_pretrained_on_are_named_with_their_share(
    run, folder, tmp_path, capsys
):
    root = tmp_path / "cells"
    (root / "annotations").mkdir(parents=True)
    for part, numbers in (("train", [2]), ("val", [2, 3, 7, 8])):
        (root / part).mkdir()
        for number in numbers:
            pixels = jpeg(picture(number), 40) if number == 3 else picture(number)
            cv2.imwrite(str(root / part / f"{number}.png"), pixels)
        images = [dict(id=number, file_name=f"{number}.png") for number in numbers]
        text = json.dumps(dict(images=images, annotations=[], categories=[]))
        (root / "annotations" / f"{part}.json").write_text(text)
    out, kept = tmp_path / "d.csv", tmp_path / "kept.txt"
    assert run(folder, "--against", root, "--out", out, "--one-per-group", kept) == 0
    said = capsys.readouterr().out
    assert (
        "val: 2 of 4 (50.0 %) images are in the folder, 1 pixel by pixel, 1 nearly: 2.png, 3.png"
    ) in said
    leaks = [row for row in rows_of(out) if row["set"] == "val"]
    assert [(row["how"], row["like"]) for row in leaks] == [
        ("exact", str(folder / "2.png")),
        ("near", str(folder / "3.png")),
    ]
    listed = [os.path.basename(line) for line in kept.read_text().splitlines()]
    assert listed == ["0.png", "1.png"]
    assert run(folder, "--against", root / "annotations" / "val.json", "--exact") == 0
    assert "val: 1 of 4 (25.0 %) images are in the folder" in capsys.readouterr().out
    listed = tmp_path / "known.txt"
    listed.write_text(f"{root / 'val' / '7.png'}\n")
    assert run(folder, "--against", listed, "--near", 0) == 0
    assert "images: 0 of 1 (0.0 %) images are in the folder\n" in capsys.readouterr().out


def test_what_cannot_be_read_is_named_and_in_no_list(run, folder, tmp_path, capsys):
    content = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(content[:80])
    shutil.copy(folder / "1.png", folder / "a\nb.png")
    cv2.imwrite(str(folder / "plain.png"), picture(0) * 0 + 9)
    (folder / "note.md").write_text("x")
    kept = tmp_path / "kept.txt"
    assert run(folder, "--one-per-group", kept) == 0
    said = capsys.readouterr()
    assert f"left out: {folder}/0.png: " in said.err
    assert r"a\nb.png: its name holds a line break" in said.err
    assert "passed over in" in said.err
    assert "1 images are of nearly one colour, and compared pixel by pixel alone" in said.out
    assert f"{kept}: 5 of 6 (83.3 %) images" in said.out
    assert run(folder, "--max-pixels", 100) == 2
    assert "the images: none of 8 images can be read." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["gone"], "error: gone: there is no such file or folder"),
        (["photos", "--against", "gone"], "--against gone: there is no such file or folder"),
        (["photos", "--against", "train"], "train has no images of val or test"),
        (["photos", "--against", "a.json"], "a.json is not in COCO format: it lists no images"),
        (["x.zip"], "x.zip: an archive is not unpacked here"),
        (["photos", "--out", "none/d.csv"], "there is no folder none"),
        (["photos", "--out", "d.txt"], "--out d.txt: its name does not end in .csv"),
        (["photos", "--one-per-group", "d.csv"], "d.csv: its name does not end in .txt"),
        (["photos", "--near", "17"], "17: a whole number from 0 to 16"),
    ],
)
def test_what_cannot_be_done_is_one_message(
    run, folder, tmp_path, monkeypatch, capsys, words, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train" / "train").mkdir(parents=True)
    (tmp_path / "a.json").write_text('{"images": []}')
    (tmp_path / "x.zip").write_bytes(b"PK")
    assert run(*words) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_the_range_of_near_lies_within_the_hash():
    assert 0 < options.NEAR < options.MOST < fingerprint.BITS // 2
    assert parse(import_tool("duplicates"), "F").near == options.NEAR
