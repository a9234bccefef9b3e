# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Names of files and classes that move a cursor or break a line are printed and written escaped."""

import os

import pytest

from ..pretraining.folder import draw
from ..tool_modules import run_tool
from .command import FAST

CLASS = b"\x1b[31m[red]two\nlines"


@pytest.fixture
def scene(tmp_path, tool, monkeypatch):
    """Images and labelled ones in folders of such names; nothing is trained."""
    monkeypatch.setattr(tool, "train", lambda *_: 0)
    draw(tmp_path / "photos", 9)
    root = os.fsencode(tmp_path)
    os.mkdir(root + b"/labels")
    for place in (b"photos/" + CLASS, b"labels/" + CLASS, b"labels/=1+1"):
        draw(tmp_path / "drawn", 8, seed=len(place)).rename(os.fsdecode(os.path.join(root, place)))
    for name in (b"\x1b]0;title\x07.png", b"\xff[red].png", b"a\nb.png"):
        with open(os.path.join(root, b"photos", name), "wb") as file:
            file.write(b"no image")
    return tmp_path


def clean(text: str) -> bool:
    return all(sign.isprintable() or sign == "\n" for sign in text)


def test_no_control_character_is_printed_and_a_file_has_a_line(scene, tool, monkeypatch, capsys):
    out = scene / "run"
    options = ["--data", scene / "photos", "--out", out, "--labels", scene / "labels", *FAST]
    # The labelled images may not be missing, and such names cannot be listed.
    assert run_tool(tool, monkeypatch, *options) == 2
    said = capsys.readouterr()
    assert clean(said.out + said.err)
    assert r"\x1b[31m[red]two\nlines" in said.err
    options[3] = out = scene / "other"
    assert run_tool(tool, monkeypatch, *options[:4], *FAST) == 0
    said = capsys.readouterr()
    assert clean(said.out + said.err)
    for name in ("opening.txt", "scan.txt"):
        text = (out / name).read_text("utf-8")
        assert clean(text)
        left_out = [line.split(": ")[1] for line in text.splitlines() if "left out: " in line]
        assert len(left_out) == 3 + 8  # the broken ones, and the folder with the line break
        for shown in (r"\x1b]0;title\x07.png", r"\xff[red].png", r"a\nb.png"):
            assert str(scene / "photos" / shown) in left_out
    assert len((out / "files.txt").read_bytes().splitlines()) == 9
