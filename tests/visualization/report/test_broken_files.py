# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run with one broken file: its report lacks that part, and it hides no other run's row."""

import csv
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config

from xmoco_plugin.visualization.report import WorkDir, curves, page, write_report

from ...broken import CONTENTS, NO_FILES, put
from ...tool_modules import import_tool, run_tool
from . import made_runs

START = "20260101_000000"
FILES = {
    "last_checkpoint": "",  # the report does not read it
    "options.json": "",
    "opening.txt": "opening.txt",
    "health.jsonl": "health.jsonl",
    "summary.json": "summary.json",
    "summary_maps.npz": "summary_maps.npz",
    "config.py": "config.py",
    "epoch_2.pth": "epoch_2.pth",
    f"{START}/vis_data/scalars.json": "scalars.json",
    f"{START}/{START}.log": "",  # the environment is then missing
    f"{START}/vis_data/config.py": "",  # a copy
}
# Where something may be whole all the same: a line of JSON without the fields, a checkpoint that
# is only read when it is needed, a text of any content.
SILENT = {
    "opening.txt": set(CONTENTS) - set(NO_FILES),
    "epoch_2.pth": set(CONTENTS) - set(NO_FILES) | {"sparse"},
    "summary.json": {"huge"},
    "health.jsonl": {"huge", "digits", "empty"},
    "scalars.json": {"empty", "nan", "huge", "digits", "texts"},
    "config.py": {"empty", "list", "null", "nan", "huge", "digits", "texts"},
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run as the host and the hooks write it."""
    folder = made_runs.train(tmp_path_factory.mktemp("whole") / "run", epochs=2)
    (log,) = (path.parent for path in folder.glob("*/vis_data"))
    (log / f"{log.name}.log").rename(log / f"{START}.log")
    log.rename(folder / START)
    (config,) = folder.glob("*.py")
    config.rename(folder / "config.py")
    return folder


def broken(whole: Path, root: Path, name: str) -> dict[str, Path]:
    """A copy of the run for each kind of fault of one file."""
    folders = {}
    for kind in CONTENTS:
        folders[kind] = root / f"{name.replace('/', '-')}-{kind}"
        shutil.copytree(whole, folders[kind])
        put(kind, folders[kind] / name)
    return folders


@pytest.mark.parametrize("name", FILES)
def test_the_report_lacks_what_a_broken_file_held_and_says_so(whole, tmp_path, monkeypatch, name):
    monkeypatch.setattr(page.Pictures, "draw", lambda *_, **__: page.Pictures())
    # Formatting 17 configs and drawing 17 runs takes long: what no fault of this file can change.
    if name != "config.py":
        monkeypatch.setattr(Config, "pretty_text", property(lambda self: ""))
    if not name.endswith(("health.jsonl", "scalars.json")):
        monkeypatch.setattr(curves, "draw_all", lambda *_: [])
    if name != "health.jsonl":
        monkeypatch.setattr(page, "histogram_figures", lambda *_: [])
    runs = [WorkDir.read(folder) for folder in broken(whole, tmp_path, name).values()]
    write_report(runs, tmp_path / "page.html", say=lambda text: None)
    assert (tmp_path / "page.html").stat().st_size > 1000
    said = FILES[name]
    for kind, run in zip(CONTENTS, runs, strict=True):
        assert not any("Traceback" in line for line in run.missing)
        if said and kind not in SILENT.get(said, ()):
            assert any(said in line for line in run.missing), (kind, run.missing)


def test_every_broken_run_is_a_row_beside_the_whole_one(whole, tmp_path, monkeypatch, capsys):
    shutil.copytree(whole, tmp_path / "whole")
    folders = [f for name in FILES for f in broken(whole, tmp_path, name).values()]
    assert run_tool(import_tool("runs"), monkeypatch, tmp_path, "--format", "csv") == 0
    printed = capsys.readouterr()
    assert "Traceback" not in printed.out + printed.err
    rows = {row["name"]: row for row in csv.DictReader(printed.out.splitlines())}
    assert rows.keys() == {folder.name for folder in folders} | {"whole"}
    assert rows["whole"]["epochs"] == "2"
    for kind in NO_FILES:
        assert "health.jsonl" in rows[f"health.jsonl-{kind}"]["missing"]
        assert rows[f"health.jsonl-{kind}"]["epochs"] == "2"
    assert rows["health.jsonl-nan"]["epochs"] == "2"


@pytest.mark.parametrize("kind", ["nan", "bytes", "device"])
def test_the_whole_report_is_drawn_beside_a_broken_checkpoint(whole, tmp_path, kind):
    copy = tmp_path / "run"
    shutil.copytree(whole, copy)
    put(kind, copy / "epoch_2.pth")
    run = WorkDir.read(copy)
    write_report([run], tmp_path / "page.html", images=16, say=lambda text: None)
    assert any("epoch_2.pth" in line for line in run.missing)
    assert 'id="views-0"' in (tmp_path / "page.html").read_text()
