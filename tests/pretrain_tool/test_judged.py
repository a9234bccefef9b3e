# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/eval_knn.py and test.py on the folder of a run: the run stays what it was."""

import csv
import shutil
from pathlib import Path

import pytest

from xmoco_plugin.visualization.report import WorkDir

from ..tool_modules import import_tool, run_tool
from .command import EPOCHS, FAST, run


def contents(folder: Path) -> dict[str, bytes]:
    """What lies in the folder itself, and in the folders of its starts."""
    files = [*folder.glob("*"), *folder.glob("2*/**/*")]
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if f.is_file()}


def row(monkeypatch, capsys, folder: Path) -> dict[str, str]:
    """The one run that runs.py finds."""
    assert run_tool(import_tool("runs"), monkeypatch, folder, "--format", "csv") == 0
    (found,) = csv.DictReader(capsys.readouterr().out.splitlines())
    return found


@pytest.mark.parametrize("name", ["eval_knn", "test"])
def test_a_run_that_was_judged_is_unchanged_and_goes_on(
    finished, data, tool, monkeypatch, capsys, name, no_report
):
    out, _ = finished
    arguments = (out / "config.py", out / f"epoch_{EPOCHS}.pth")
    before, listed = contents(out), row(monkeypatch, capsys, out)
    done = run(*arguments, "--out", out.parent / f"{name}.json", tool=name)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "accuracy/top1" in (out.parent / f"{name}.json").read_text()
    assert list((out / name).glob("*/*.log"))
    assert contents(out) == before
    assert row(monkeypatch, capsys, out.parent) == listed
    read = WorkDir.read(out)
    assert read.config.train_cfg.max_epochs == EPOCHS
    assert [step for step, _ in read.metrics["accuracy/top1"]][-1] == EPOCHS
    same = ("--data", data / "images", "--out", out, "--labels", data / "labels", *FAST)
    assert run_tool(tool, monkeypatch, *same) == 0
    assert f"all {EPOCHS} epochs are done" in capsys.readouterr().out
    shutil.rmtree(out / name)  # other tests list this folder


@pytest.mark.parametrize("name", ["eval_knn", "test"])
def test_a_work_dir_that_holds_a_training_is_refused(finished, name):
    out, _ = finished
    before = contents(out)
    done = run(out / "config.py", out / f"epoch_{EPOCHS}.pth", "--work-dir", out, tool=name)
    assert done.returncode == 2
    assert "holds a training, whose config would be lost: name another" in done.stderr
    assert contents(out) == before
