# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The one call for a GPU, rehearsed on a CPU: what can be wrong without a GPU is found without."""

import json
import os
import re
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from .command import BENCHMARKS


def call(out: Path, *words: str, **env: str) -> subprocess.CompletedProcess:
    """gpu_run.sh with this Python."""
    return subprocess.run(
        ["bash", str(BENCHMARKS / "gpu_run.sh"), *words],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHON": sys.executable, "OUT": str(out), **env},
    )


@pytest.fixture
def pictures(tmp_path):
    """Two JPEGs."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 50 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.jpg")
    return folder


@pytest.mark.slow
def test_the_whole_call_is_rehearsed_on_a_cpu_and_leaves_three_files(tmp_path, pictures):
    words = ["--rehearse", "--parcel", str(tmp_path / "none"), "--images", str(pictures)]
    done = call(tmp_path / "out", "4", *words, "--only", "tests", "loss")
    assert done.returncode == 0, done.stdout + done.stderr
    files = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert files == ["gpu_run.json", "gpu_run.log", "gpu_run.md"]
    record = json.loads((tmp_path / "out/gpu_run.json").read_text())
    assert [(p["name"], p["status"]) for p in record["parts"]] == [
        ("tests", "done"),
        ("loss", "done"),
    ]
    tests, (loss,) = (part["rows"] for part in record["parts"])
    # Every test that asks for a GPU is collected, and on a CPU says why it did not run.
    files = BENCHMARKS.parent.rglob("tests/**/test_*.py")
    marked = sum(file.read_text().count("\n@pytest.mark.gpu\n") for file in files)
    assert len({re.sub(r"\[.*", "", row["test"]) for row in tests}) == marked
    assert {row["outcome"] for row in tests} == {"skipped"} or torch.cuda.is_available()
    assert (loss["N"], loss["K"]) == (4, 64)
    assert record["machine"]["torch"] == torch.__version__
    page = (tmp_path / "out/gpu_run.md").read_text()
    assert page.startswith("# A rehearsal on a CPU")
    assert "Cut off or failed: nothing." in page


def part(load, tmp_path, seconds=600.0, images=None, data=None):
    """A part of a rehearsal, in this process."""
    gpu_parts = load("gpu_parts")
    return gpu_parts.Part(tmp_path / "rows.jsonl", seconds, True, data, images)


def rows_of(tmp_path) -> list[dict]:
    lines = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    return [line["row"] for line in lines if "row" in line]


def test_the_step_is_timed_plain_and_with_each_switch(load, tmp_path):
    load("gpu_step").step(part(load, tmp_path))
    rows = {row["model"]: row for row in rows_of(tmp_path)}
    assert {"mmpretrain", "ours", "ours + channels_last", "ours + compiling"} <= set(rows)
    assert all(row["images/s"] > 0 for row in rows.values()), rows


def test_the_ways_of_a_gpu_can_be_built_and_what_compiles_comes_last(load):
    ways = load("gpu_step").ways(load("gpu_parts").REHEARSAL, True)
    built = {name: build() for name, (build, _) in ways.items()}
    compiled = [name for name, model in built.items() if model.backbone._compiled_call_impl]
    assert list(built)[-3:] == compiled
    assert [name for name in compiled if built[name]._graphs] == ["ours, all, as CUDA graphs"]
    half = [name for name, (_, cfg) in ways.items() if cfg.get("dtype") == "bfloat16"]
    assert half == [
        "ours + bf16",
        "ours + all but compiling",
        "ours, all (fast)",
        "ours, all, as CUDA graphs",
    ]


def test_a_step_from_jpegs_says_how_long_nothing_of_the_step_is_done(load, tmp_path, pictures):
    load("gpu_step").jpegs(part(load, tmp_path, images=pictures))
    rows = {row["way"]: row for row in rows_of(tmp_path)}
    assert {"mmpretrain", "ours, device views"} <= set(rows)
    for row in rows.values():
        assert 0 < row["waits for data %"] < row["between steps %"] < 100


def test_views_are_made_by_every_way_that_is_installed(load, tmp_path, pictures, monkeypatch):
    gpu_views = load("gpu_views")
    monkeypatch.setattr(gpu_views.measure, "installed", lambda name: False)
    gpu_views.views(part(load, tmp_path, images=pictures))
    assert {row["way"] for row in rows_of(tmp_path)} == {
        "ours, float32",
        "ours, TF32",
        "ours, float16",
        "ours, decoding too",
    }
    assert all(row["images/s"] > 0 for row in rows_of(tmp_path))
    notes = (tmp_path / "rows.jsonl").read_text()
    assert "kornia is not installed" in notes
    assert "DALI is not installed" in notes


def test_cifar_is_trained_an_epoch_and_a_knn_at_a_time(load, tmp_path):
    load("gpu_cifar").cifar(part(load, tmp_path))
    *epochs, whole = rows_of(tmp_path)
    assert [next(iter(row.values())) for row in epochs] == [1, 2]
    assert all(0 <= row["kNN top-1 %"] <= 100 for row in epochs)
    assert whole["epochs"] == 2
    full = whole["200 epochs, extrapolated, min"]
    first = whole["first epoch s"] - whole["epoch s"]
    assert full == pytest.approx((first + 200 * whole["epoch s"] + 20 * whole["kNN s"]) / 60)


def test_cifar_ends_in_time_and_without_data_says_what_is_missing(load, tmp_path):
    gpu_cifar = load("gpu_cifar")
    late = part(load, tmp_path, seconds=0)
    gpu_cifar.cifar(late)
    assert len(rows_of(tmp_path)) == 2  # one epoch and what it comes to
    late.rehearsal = False
    gpu_cifar.cifar(late)
    assert "DATA=FOLDER" in (tmp_path / "rows.jsonl").read_text().splitlines()[-1]


def test_what_does_not_fit_into_the_memory_is_named_and_the_next_size_is_tried(
    load, tmp_path, monkeypatch
):
    made = part(load, tmp_path)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda i: type("P", (), dict(total_memory=8e9))
    )
    for batch in (256, 128, 64):
        with made.attempt(batch=batch) as row:
            if batch == 256:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
            if batch == 128:
                raise RuntimeError("CUDA error: misaligned address\nat ...")
            row["ms"] = 1.0
    assert rows_of(tmp_path) == [
        dict(batch=256, skipped="does not fit into the 8 GB of the device"),
        dict(batch=128, failed="RuntimeError: CUDA error: misaligned address"),
        dict(batch=64, ms=1.0),
    ]


def test_what_there_is_no_time_for_is_named(load, tmp_path):
    made = part(load, tmp_path, seconds=0)
    made.rehearsal = False
    assert list(made.within(5, ["a", "b"])) == []
    assert json.loads((tmp_path / "rows.jsonl").read_text()) == dict(note="no time for: a, b")


SLOW = """
import json, subprocess, sys, time
with open(sys.argv[1], "a") as file:
    file.write(json.dumps(dict(row=dict(a=1))) + "\\n")
    file.write('{"row": {"half')
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print("child", child.pid, flush=True)
time.sleep(60)
"""


def test_a_part_that_outlasts_its_time_is_ended_with_its_children_and_its_rows_remain(
    load, tmp_path
):
    process = load("gpu_process").Process(tmp_path / "log")
    seen: list[dict] = []
    start = time.monotonic()
    command = [sys.executable, "-c", SLOW, str(tmp_path / "rows")]
    found = process.run(command, tmp_path / "rows", 4, seen.extend, dict(os.environ))
    assert time.monotonic() - start < 7
    assert found["status"] == "cut off"
    assert seen == [dict(row=dict(a=1))]
    child = int(re.search(r"child (\d+)", (tmp_path / "log").read_text())[1])
    assert _ends(child)


def _ends(pid: int) -> bool:
    """Whether a process is gone within five seconds."""
    for _ in range(50):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_a_part_that_fails_says_why_in_the_last_lines(load, tmp_path):
    process = load("gpu_process").Process(tmp_path / "log")
    command = [sys.executable, "-c", "import no_such_thing"]
    found = process.run(command, tmp_path / "rows", 30, print, dict(os.environ))
    assert found["status"] == "failed"
    assert found["end"][-1] == "ModuleNotFoundError: No module named 'no_such_thing'"


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about a machine without a GPU")
def test_without_a_gpu_it_says_so_in_one_sentence(tmp_path):
    done = call(tmp_path / "out", "--parcel", str(tmp_path / "none"))
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert re.match(r"no CUDA device: torch \S+ sees none\. .*--rehearse", line)


@pytest.mark.parametrize("given", [False, True])
def test_a_stack_that_cannot_be_imported_is_told_with_the_way_to_one(
    load, tmp_path, monkeypatch, given
):
    gpu_run = load("gpu_run")
    parcel = tmp_path / "parcel"
    if given:
        parcel.mkdir()
        python, platform = gpu_run.gpu_parcel.here()
        about = dict(python=python, platform=platform, commit="c0ffee")
        (parcel / "parcel.json").write_text(json.dumps(about))
    failed = dict(status="failed", end=["ModuleNotFoundError: No module named 'mmengine'"])
    monkeypatch.setattr(gpu_run.Process, "run", lambda *args: failed)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    monkeypatch.setattr(sys, "argv", ["gpu_run.py", "--parcel", str(parcel)])
    expected = rf"no parcel in {parcel}, and this Python .*mmengine.*: where .*'make gpu-parcel'"
    if given:
        expected = "cannot be imported with the parcel's wheels.*No module named 'mmengine'"
    with pytest.raises(SystemExit, match=expected):
        gpu_run.main()


def test_each_part_has_its_share_of_the_minutes_and_the_last_what_is_left(load, tmp_path):
    gpu_run = load("gpu_run")
    args = Namespace(minutes=18.0, rehearse=False)
    run = gpu_run.Run(args, tmp_path, tmp_path)
    given = {part.name: limit for part, limit in gpu_run.limits(run, list(gpu_run.PARTS))}
    assert [given[name] for name in ("tests", "step", "jpegs", "views", "loss")] == [
        240,
        240,
        180,
        120,
        60,
    ]
    assert given["cifar"] == pytest.approx(18 * 60 - gpu_run.SPARE, abs=5)
    run.end = time.monotonic() + 10  # no part is given more than there is
    assert all(limit <= 10 for _, limit in gpu_run.limits(run, list(gpu_run.PARTS)))
