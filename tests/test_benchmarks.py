# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The benchmarks run, and their report is honest; how long they take is not tested."""

import importlib
import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[1] / "tools" / "benchmarks"
FACTS = dict(processor="p", cores=2, device="cpu", threads=1, commit="c0ffee")


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    yield importlib.import_module
    torch.set_num_threads(threads)
    cv2.setNumThreads(cv_threads)


def test_a_report_is_written_as_json_and_table_and_compares_with_an_earlier_one(
    load, tmp_path, capsys
):
    measure = load("measure")
    rows = [dict(way="a", rate=12.345), dict(way="b", rate=1234.5, more=1)]
    measure.report("Title", rows, FACTS, Namespace(out=tmp_path / "x", against=None))
    record = json.loads((tmp_path / "x.json").read_text())
    assert (record["rows"], record["environment"]) == (rows, FACTS)
    table = (tmp_path / "x.md").read_text()
    assert "| a | 12.3 | - |" in table
    assert "| b | 1,234 | 1 |" in table
    measure.report("Title", rows, FACTS, Namespace(out=None, against=tmp_path / "x.json"))
    assert "Earlier, commit c0ffee" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["processor", "cores", "device", "threads"])
def test_runs_of_different_machines_are_not_compared(load, tmp_path, key):
    measure = load("measure")
    measure.report("Title", [], FACTS, Namespace(out=tmp_path / "x", against=None))
    with pytest.raises(ValueError, match=rf"other {key} \({FACTS[key]}, now else\)"):
        measure.report(
            "Title", [], {**FACTS, key: "else"}, Namespace(out=None, against=tmp_path / "x.json")
        )


def test_functions_take_turns_and_the_first_round_does_not_count(load):
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in "ab"}
    assert list(load("measure").alternate(ways, repeats=2)) == ["a", "b"]
    assert calls == ["a", "b"] * 3


PEAK = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from measure import peak_memory

def prepare():
    kept = np.ones(10**7, np.uint8)
    return lambda: np.ones(4 * 10**7, np.uint8).sum() + kept[0]

print(peak_memory(prepare))
"""


def test_peak_memory_is_what_a_function_needs_beyond_its_inputs():
    # In a process of its own: one that has run other tests may hold free memory, or lose some.
    command = [sys.executable, "-c", PEAK, str(BENCHMARKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 3.9e7 < int(done.stdout.split()[-1]) < 5e7


def test_the_loss_benchmark_runs(load, tmp_path, monkeypatch):
    words = ["loss.py", "--batch", "4", "--queue", "64", "--repeats", "1", "--chunk-size", "16"]
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "loss")])
    load("loss").main()
    (row,) = json.loads((tmp_path / "loss.json").read_text())["rows"]
    assert (row["N"], row["K"]) == (4, 64)
    assert row["chunks ms"] > 0


def test_the_views_benchmark_runs_what_is_installed(load, tmp_path, monkeypatch):
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 50 + i, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), pixels)
    words = ["views.py", str(tmp_path), "--repeats", "1", "--out", str(tmp_path / "views")]
    monkeypatch.setattr(sys, "argv", words)
    views = load("views")
    monkeypatch.setattr(views, "installed", lambda name: False)
    views.main()
    rows = {row["way"]: row for row in json.loads((tmp_path / "views.json").read_text())["rows"]}
    assert {"decoding: OpenCV", "mmpretrain", "ours, TwoViews"} <= set(rows)
    assert rows["mmpretrain"]["times mmpretrain"] == 1


def test_the_step_benchmark_times_the_peers_and_the_parts_of_ours(load, tmp_path, monkeypatch):
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 50 + i, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), pixels)
    sizes = ["--batch", "4", "--size", "32", "--depth", "18", "--queue", "64", "--repeats", "1"]
    jpegs = ["--images", str(tmp_path), "--steps", "1", "--warm-up", "1"]
    monkeypatch.setattr(
        sys, "argv", ["step.py", *sizes, *jpegs, "--out", str(tmp_path / "out/step")]
    )
    step = load("step")
    monkeypatch.setattr(step, "installed", lambda name: False)
    step.main()
    rows = json.loads((tmp_path / "out/step.json").read_text())["rows"]
    models = {row["model"]: row for row in rows if "model" in row}
    assert {"mmpretrain", "ours, no terms", "ours"} <= set(models)
    assert models["mmpretrain"]["time / mmpretrain"] == 1
    parts = {row["part of ours"]: row["share %"] for row in rows if "part of ours" in row}
    assert sum(parts.values()) == pytest.approx(100)
    assert parts["backward"] > parts["queue"] > 0
    ways = {row["way"]: row for row in rows if "way" in row}
    assert all(0 < row["waits for data %"] < 100 for row in ways.values())
    assert {"mmpretrain", "ours, device views"} <= set(ways)
    text = (tmp_path / "out/step.md").read_text()
    assert sum(line.startswith("| ---") for line in text.splitlines()) == 3  # a table each
