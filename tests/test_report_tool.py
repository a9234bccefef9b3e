# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/report.py: what it makes of its command line, and errors that a user can mend."""

from pathlib import Path

import pytest
from mmengine.config import Config

from . import tiny_runner  # noqa: F401  (registers TinyImages)
from .tool_modules import import_tool, run_tool
from .tools_config import draw
from .visualization.report.made_runs import step, write_scalars


@pytest.fixture(scope="module")
def tool():
    return import_tool("report")


def report(tool, monkeypatch, *arguments) -> int:
    return run_tool(tool, monkeypatch, *arguments)


@pytest.fixture
def run(tmp_path) -> Path:
    """A run of which only a log and its config, with data elsewhere, are left."""
    config = draw(tmp_path)
    write_scalars(tmp_path / "run", "20260101_000000", [step(i, 5.0 - i) for i in (1, 2)])
    # As the host writes it: with nothing left to compute.
    Config.fromfile(config).dump(str(tmp_path / "run" / "tiny.py"))
    config.unlink()
    return tmp_path / "run"


def test_the_report_lies_in_the_work_dir_and_what_is_missing_is_printed(
    tool, monkeypatch, capsys, run
):
    assert report(tool, monkeypatch, run) == 0
    printed = capsys.readouterr().out
    assert (run / "report.html").exists()
    assert f"{run / 'report.html'} (" in printed
    assert "run: missing: Similarity maps, nearest neighbours and t-SNE: there is no" in printed
    assert "missing' names" in printed or "missing" in printed.split("the data of")[1]


def test_data_root_says_where_the_data_are_now(tool, monkeypatch, run, tmp_path):
    out = tmp_path / "out" / "page.html"
    out.parent.mkdir()
    assert report(tool, monkeypatch, run, "--data-root", tmp_path / "images", "--out", out) == 0
    assert 'id="views-0"' in out.read_text()
    assert not (run / "report.html").exists()


def test_a_run_that_reads_no_folder_is_reported_beside_one_that_does(
    tool, monkeypatch, capsys, run, tmp_path
):
    other = tmp_path / "other"
    write_scalars(other, "20260101_000000", [step(i, 5.0 - i) for i in (1, 2)])
    cfg = Config.fromfile(run / "tiny.py")
    pipeline = cfg.train_dataloader.dataset.pipeline
    cfg.train_dataloader.dataset = dict(type="TinyImages", pipeline=pipeline)
    cfg.dump(str(other / "tiny.py"))
    assert report(tool, monkeypatch, run, other, "--data-root", tmp_path / "images") == 0
    assert 'id="views-0"' in (run / "report.html").read_text()
    printed = capsys.readouterr().out
    assert f"other: missing: --data-root {tmp_path / 'images'}: no dataset of tiny.py" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "there is no folder nothing"),
        (["."], "is no work dir of a training"),
        (["run", "run"], "a work dir is named twice"),
        (["run", "--images", "0"], "--images: 0: a whole number from 1"),
        (["run", "--base", "nothing.py"], "there is no config 'nothing.py'"),
        (["run", "--out", "no/such/folder/page.html"], "no/such/folder"),
    ],
)
def test_what_cannot_be_done_ends_with_one_message(
    tool, monkeypatch, capsys, run, tmp_path, arguments, message
):
    monkeypatch.chdir(tmp_path)
    assert report(tool, monkeypatch, *arguments) == 2
    assert message in capsys.readouterr().err


def test_runs_get_the_shortest_names_that_tell_them_apart(tool):
    assert tool.run_names(["a/x", "a/y"]) == ["x", "y"]
    assert tool.run_names(["a/x", "b/x"]) == ["a/x", "b/x"]
