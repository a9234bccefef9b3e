# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a GPU told comes into its places in the docs, and nothing else does."""

import json
import re
import sys

import pytest

from .command import BENCHMARKS

DOCS = BENCHMARKS.parent / "docs" / "lab" / "performance.md"
STEP = [
    {"model": "ours, no terms", "images/s": 1000.0, "ms": 256.0},
    {"model": "ours", "images/s": 990.0, "ms": 258.6},
    {"model": "ours, all (fast)", "images/s": 2800.0, "ms": 91.0},
]
JPEGS = [
    {"way": "ours, fast, next batch ahead", "images/s": 2660.0, "between steps %": 2.5},
    {"way": "mmpretrain", "images/s": 700.0, "between steps %": 40.0},
    {"way": "mmpretrain AMP", "skipped": "does not fit into the 8 GB of the device"},
]
LOSS = [
    {
        "N": 256,
        "K": 65536,
        "chunks MB": 40.0,
        "mmpretrain MB": 200.0,
        "time ratio": 0.5,
        "its rounds": "0.4 to 0.6",
    }
]
CIFAR = [
    {"epoch of the fast config": 1, "s": 30.0, "kNN s": 3.0, "kNN top-1 %": 40.0},
    {
        "run of": "the fast config",
        "epochs": 12,
        "epochs/min": 15.0,
        "200 epochs, extrapolated, min": 14.2,
    },
]
TEACHER = [
    {"step": "ours, crop", "teacher": "vit-s14", "images/s": 2100.0},
    {"step": "lightly-train, distillation", "teacher": "vit-s14", "failed": "it ended"},
    {"training": "ours, stored", "teacher": "vit-s14", "images/s": 3000.0},
]
TESTS = [
    dict(test="tests/a.py::test_views_and_nothing_synchronizes", outcome="passed"),
    dict(test="tests/a.py::test_five_steps_of_graphs_are[True]", outcome="failed", why="x | y"),
]


def record(**changes) -> dict:
    rows = dict(tests=TESTS, step=STEP, jpegs=JPEGS, loss=LOSS, teacher=TEACHER, cifar=CIFAR)
    parts = [
        dict(name=n, title=n, status="done", seconds=1.0, limit=2.0, rows=r, notes=[], end=[])
        for n, r in rows.items()
    ]
    machine = dict(device="NVIDIA H200", commit="c0ffee", torch="2.11.0")
    whole = dict(rehearsal=False, minutes=9.0, seconds=500.0, machine=machine, data="")
    return whole | dict(parcel=None, parts=parts) | changes


def test_figures_come_into_their_places_and_again_without_a_change(load):
    gpu_page = load("gpu_page")
    text = "| a | <!-- gpu:step -->not yet run on a GPU: `x`<!-- /gpu:step --> |\n"
    text += "| b | <!-- gpu:views -->not yet<!-- /gpu:views --> |\n"
    text += "<!-- gpu:pages -->\nnot yet\n<!-- /gpu:pages -->\nthe end\n"
    once = gpu_page.merge(text, record())
    assert "2,660 images/s from JPEGs; 3.8 times mmpretrain; 95 % of the rate on synthetic" in once
    assert "(NVIDIA H200, commit `c0ffee`)<!-- /gpu:step --> |" in once
    assert "| b | <!-- gpu:views -->not yet<!-- /gpu:views --> |" in once  # it has no figure
    assert once.endswith("<!-- /gpu:pages -->\nthe end\n")
    assert gpu_page.merge(once, record()) == once


def test_every_place_of_the_docs_has_a_figure_of_its_own_name(load):
    gpu_page = load("gpu_page")
    places = [match[1] for match in gpu_page.PLACE.findall(DOCS.read_text())]
    assert len(places) == len(set(places)) >= 8
    views = [{"way": "ours, float32", "images/s": 9000.0}]
    whole = record()
    whole["parts"].append({**whole["parts"][0], "name": "views", "rows": views})
    assert set(places) == {name for name, _ in gpu_page.figures(whole)}


def test_a_table_survives_a_merge(load):
    gpu_page = load("gpu_page")
    before = DOCS.read_text()
    after = gpu_page.merge(before, record())
    rows = [line for line in after.splitlines() if "gpu:waits" in line]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [3]
    assert len(after.splitlines()) > len(before.splitlines())


def test_a_rehearsal_is_not_merged_and_a_text_without_places_is_refused(
    load, tmp_path, monkeypatch
):
    gpu_run = load("gpu_run")
    (tmp_path / "r.json").write_text(json.dumps(record(rehearsal=True)))
    (tmp_path / "docs.md").write_text("<!-- gpu:step -->x<!-- /gpu:step -->")
    words = ["gpu_run.py", "--merge", str(tmp_path / "r.json"), "--docs", str(tmp_path / "docs.md")]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit, match="a rehearsal on a CPU: its figures belong into no table"):
        gpu_run.main()
    (tmp_path / "r.json").write_text(json.dumps(record()))
    gpu_run.main()
    assert "2,660 images/s" in (tmp_path / "docs.md").read_text()
    (tmp_path / "docs.md").write_text("no place")
    with pytest.raises(SystemExit, match="no place is marked there"):
        gpu_run.main()


def test_the_page_names_what_was_cut_off_and_shows_why(load):
    whole = record()
    whole["parts"][1] |= dict(status="cut off", notes=["no time for: b"], end=["Killed"])
    page = load("gpu_page").page(whole)
    assert "Cut off or failed: step: cut off." in page
    assert "- no time for: b" in page
    assert "```\nKilled\n```" in page
    assert "does not fit into the 8 GB" in page
    assert r"x \| y" in page
