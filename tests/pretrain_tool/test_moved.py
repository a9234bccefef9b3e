# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run's folder read as data: it can be copied and moved, and what a stranger wrote is not run."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from xmoco_plugin.pretraining import PretrainError, run_settings
from xmoco_plugin.untrusted import read_whole_config

from ..forked import train_in_a_fork
from ..tool_modules import run_tool
from .command import EPOCHS, FAST


def weights(folder: Path) -> dict:
    return torch.load(folder / f"epoch_{EPOCHS}.pth", weights_only=False)["state_dict"]


def contents(folder: Path) -> dict:
    """Every file below a folder, with its time of change."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in files}


@pytest.fixture
def stopped(finished, tmp_path) -> Path:
    """A run that was stopped after its first epoch, in a folder R."""
    out, _ = finished
    folder = tmp_path / "R"
    shutil.copytree(out, folder)
    (folder / f"epoch_{EPOCHS}.pth").unlink()
    (folder / "last_checkpoint").write_text(str(folder / "epoch_1.pth"))
    for file in folder.glob("*.py"):
        file.write_text(file.read_text().replace(str(out), str(folder)))
    lines = (folder / "health.jsonl").read_text().splitlines(keepends=True)
    (folder / "health.jsonl").write_text(lines[0])
    return folder


def test_a_copied_run_goes_on_in_the_copy_and_leaves_the_first_untouched(
    finished, stopped, data, tool, monkeypatch, capfd, tmp_path, no_report
):
    copy = tmp_path / "R2"
    shutil.copytree(stopped, copy)
    before = contents(stopped)
    train_in_a_fork(tool, monkeypatch)
    command = ("--data", data / "images", "--labels", data / "labels", *FAST, "--out", copy)
    assert run_tool(tool, monkeypatch, *command) == 0
    printed = capfd.readouterr().out
    assert f"going on with {copy}, which was {stopped} when it began" in printed
    assert contents(stopped) == before
    assert weights(copy).keys() == weights(finished[0]).keys()
    for name in ("config.py", "last_checkpoint", "finetune_mmdet.py", "next_steps.md"):
        text = (copy / name).read_text()
        assert f"{stopped}/" not in text, name
        assert f"'{stopped}'" not in text, name
    lines = [json.loads(line) for line in (copy / "weights.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(EPOCHS + 1))


def test_a_parsed_config_is_the_executed_one(finished):
    """Both train the same weights: `test_run` runs the file that this run has parsed."""
    out, _ = finished
    executed = Config.fromfile(str(out / "config.py"))
    parsed = read_whole_config(out / "config.py")
    assert parsed.to_dict() == executed.to_dict()
    assert repr(parsed.to_dict()) == repr(executed.to_dict())  # tuples are no lists
    assert (parsed.text, parsed.filename) == (executed.text, executed.filename)


def edited(finished, folder: Path, old: str, new: str) -> Path:
    folder.mkdir()
    text = (finished[0] / "config.py").read_text()
    assert old in text
    (folder / "config.py").write_text(text.replace(old, new, 1))
    return folder


def test_a_number_that_the_user_edits_in_a_runs_config_is_kept(finished, tmp_path):
    folder = edited(finished, tmp_path / "run", f"max_epochs={EPOCHS}", "max_epochs=7")
    assert run_settings(folder).epochs == 7
    assert run_settings(folder).config.work_dir == str(folder)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("model = dict(", "import os\nmodel = dict(", "import os"),
        ("max_epochs=2", "max_epochs=1 + 1", "this is code"),
        ("type='XMoCoHead'", "type='os.mkdir'", "type 'os.mkdir' is no registered class"),
        ("type='OpeningHook'", "type='OpeningHook', out_dir='x'", "writes outside"),
        ("type='HealthHook'", "type='HealthHook', name='/etc/x'", "is outside of"),
        ("type='LocalVisBackend'", "type='WandbVisBackend'", "WandbVisBackend"),
        ("imports=[\n        'xmoco_plugin',", "imports=['antigravity',", "antigravity"),
        ("max_epochs=2", "max_epochs=0", "whole number of at least 1"),
        ("type='EpochBasedTrainLoop'", "type='subprocess.call'", "no registered class"),
    ],
)
def test_a_config_that_does_more_than_set_registered_classes_is_refused(
    finished, tmp_path, old, new, said
):
    text = (finished[0] / "config.py").read_text()
    if old not in text:
        old, new = old.replace("\n        ", ""), new  # the host's formatter decides
    folder = edited(finished, tmp_path / "run", old, new)
    with pytest.raises(PretrainError, match=said.replace(".", r"\.")) as refusal:
        run_settings(folder)
    assert str(folder / "config.py") in str(refusal.value)
