# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A set of images, and a run on it that is done."""

import shutil
from pathlib import Path

import pytest

from ..forked import command
from ..pretraining.folder import draw
from ..teachers.files import own_file
from ..tool_modules import ROOT, import_tool
from .command import FAST, OFFLINE


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """18 images in two folders, one cut, one twice; 2 x 8 labelled ones, 2 of them trained on."""
    root = tmp_path_factory.mktemp("data")
    draw(root / "images" / "a", 9, ending=".jpg")
    draw(root / "images" / "b", 8, seed=1)
    shutil.copy(root / "images" / "a" / "000.jpg", root / "images" / "b" / "again.jpg")
    whole = (root / "images" / "a" / "001.jpg").read_bytes()
    (root / "images" / "b" / "cut.jpg").write_bytes(whole[:-300])
    for number, name in enumerate(("x", "y")):
        draw(root / "labels" / name, 8, seed=10 + number)
        shutil.copy(root / "images" / "a" / f"00{number}.jpg", root / "labels" / name / "known.jpg")
    return root


@pytest.fixture(scope="session")
def teacher(tmp_path_factory) -> Path:
    """A file of weights that a student learns from."""
    path = tmp_path_factory.mktemp("teacher") / "net.pth"
    own_file(path)
    return path


@pytest.fixture(scope="session")
def finished(data, tmp_path_factory):
    """A run that is done: its folder and what it printed."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ("--data", data / "images", "--out", out, "--labels", data / "labels", *FAST)
    with pytest.MonkeyPatch.context() as patch:  # its training's too, which is a fresh Python
        patch.setenv("XMOCO_TEST_CONNECTS", str(out.parent / "connects.txt"))
        patch.setenv("PYTHONPATH", f"{OFFLINE}:{ROOT}")
        patch.setenv("OMP_NUM_THREADS", "1")
        done = command("pretrain", *words)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return out, done.stdout + done.stderr


@pytest.fixture
def tool():
    return import_tool("pretrain")


@pytest.fixture
def no_report(tool, monkeypatch) -> None:
    """Leaves out what a run ends with and takes seconds to draw: `finished` has one."""
    monkeypatch.setattr(tool.end, "report", lambda folder: None)
