# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/runs.py: a real run, a crashed one and an empty one in a table; its order and formats."""

import csv
import re

import pytest

from .tool_modules import import_tool, run_tool
from .visualization.report.made_runs import health, step, train, write_lines, write_scalars


@pytest.fixture(scope="module")
def tool():
    return import_tool("runs")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    train(root / "deep" / "real", epochs=2)
    crashed = root / "crashed"
    write_scalars(crashed, "20260101_000000", [step(i, 5.0) for i in range(1, 9)])
    knn = [{"accuracy/top1": v, "step": i} for i, v in ((0, 90.0), (1, 30.0), (2, 20.0))]
    write_scalars(crashed, "20260101_000001", knn)
    write_lines(crashed / "health.jsonl", [health(1), health(2, "collapsing")])
    with open(crashed / "health.jsonl", "a") as file:
        file.write('{"epoch": 3, "ver')
    config = "train_dataloader = dict(batch_size=4)\nlr = 0.5\nepochs = 9\n"
    (crashed / "<b>.py").write_text(config)
    copy = crashed / "20260101_000000" / "vis_data" / "config.py"
    copy.write_text(config)
    # What a run of pretrain.py leaves for others, newer than its own config.
    (crashed / "finetune.py").write_text("train_dataloader = dict(batch_size=99)\nlr = 9\n")
    (root / "empty<i>" / "20260101_000000").mkdir(parents=True)
    return root


def rows(tool, monkeypatch, capsys, folder, *options) -> list[dict]:
    assert run_tool(tool, monkeypatch, folder, "--format", "csv", *options) == 0
    return list(csv.DictReader(capsys.readouterr().out.splitlines()))


def test_every_run_is_a_row_also_what_crashed(tool, monkeypatch, capsys, folder):
    found = {row["name"]: row for row in rows(tool, monkeypatch, capsys, folder)}
    assert sorted(found) == ["crashed", "deep/real", "empty<i>"]
    real, crashed, empty = found["deep/real"], found["crashed"], found["empty<i>"]
    assert (real["epochs"], real["verdict"]) == ("2", "learning")
    assert float(real["images/s"]) > 0
    assert float(real["best kNN"]) >= 0
    assert (crashed["epochs"], crashed["best kNN"]) == ("2", "30.0")
    assert (crashed["verdict"], crashed["images/s"]) == ("collapsing", "40.0")  # 4 images, 0.1 s
    assert (crashed["lr"], real["lr"]) == ("0.5", "—")
    assert crashed["config epochs"] == "9"  # a setting, beside the column of that name
    assert "1 cut-off line(s) of health.jsonl" in crashed["missing"]
    assert empty["missing"].startswith("Everything")


def test_the_best_come_first_and_the_unknown_last(tool, monkeypatch, capsys, folder):
    found = rows(tool, monkeypatch, capsys, folder, "--sort", "images/s")
    values = [row["images/s"] for row in found]
    assert values[-1] == ""
    assert float(values[0]) > float(values[1])


def test_html_is_escaped_and_text_has_a_line_a_run(tool, monkeypatch, capsys, folder, tmp_path):
    out = tmp_path / "runs.html"
    assert run_tool(tool, monkeypatch, folder, "--format", "html", "--out", out) == 0
    page = out.read_text()
    assert "empty&lt;i&gt;" in page
    assert "<i>" not in page
    assert run_tool(tool, monkeypatch, folder) == 0
    assert len(capsys.readouterr().out.splitlines()) == 4


def test_text_shows_a_line_of_the_differences_and_counts_the_rest(
    tool, monkeypatch, capsys, folder
):
    assert run_tool(tool, monkeypatch, folder) == 0
    header, crashed, real, _ = capsys.readouterr().out.splitlines()
    start, end = header.index("differences"), header.index("missing")
    cells = [line[start:end].strip() for line in (crashed, real)]
    assert cells[0] == "config epochs=9; lr=0.5"
    assert len(cells[1]) <= tool.WIDTH + len(" (and 999 more)")
    assert re.search(r"… \(and \d+ more\)$", cells[1])
    settings = set(rows(tool, monkeypatch, capsys, folder)[1]) - {*tool.COLUMNS, "missing"}
    assert "custom_hooks.0.type" in settings  # all of them are in the CSV
    assert "hooks" not in cells[1]
    assert tool.shorten("custom_hooks.0.type='A'; a.pipeline.0.scale=3; b=1") == "b=1 (and 2 more)"
    assert tool.shorten("custom_hooks.0.type='A'") == "(and 1 more)"
    assert tool.shorten("b=1; c=2") == "b=1; c=2"
    assert tool.shorten("") == ""


def test_what_cannot_be_done_ends_with_one_message(tool, monkeypatch, capsys, folder, tmp_path):
    for arguments, said in (
        ([tmp_path / "none"], "there is no folder"),
        ([tmp_path], "no run in or below"),
        ([folder, "--sort", "colour"], "--sort colour: choose from name, epochs"),
        ([folder, "--out", tmp_path / "no" / "x"], "its folder does not exist"),
    ):
        assert run_tool(tool, monkeypatch, *arguments) == 2
        assert said in capsys.readouterr().err
