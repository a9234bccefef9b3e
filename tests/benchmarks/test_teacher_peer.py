# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Our teacher beside another's: what the benchmark tells, and that it runs without the other."""

import json
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from .command import run

TOY = ["--batch", "4", "--repeats", "1", "--queue", "8", "--teachers"]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 50 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.JPG")
    return folder


@pytest.mark.parametrize(("name", "size"), [("r50", "32"), ("vit-s14", "28")])
def test_it_measures_ours_alone_where_the_other_is_not(tmp_path, name, size, capfd):
    run("teacher_peer", *TOY, name, "--size", size, "--out", tmp_path / "p")
    record = json.loads((tmp_path / "p.json").read_text())
    rows = {row["step"]: row for row in record["rows"]}
    layouts = ("", ", channels last")
    ours = {f"ours, {way}{layout}" for way in ("crop", "stored") for layout in layouts}
    assert set(rows) == ours | {"teacher alone, ours"}
    assert all(row["images/s"] > 0 for row in rows.values())
    assert not any("time / lightly-train" in row for row in rows.values())
    assert record["environment"]["lightly-train"] == "not measured"
    said = capfd.readouterr().out
    assert "pip install lightly-train==" in said
    assert "--peer" in said
    assert "mixes the images of a batch" in (tmp_path / "p.md").read_text()  # what differs


@pytest.mark.slow
def test_whole_trainings_of_ours_have_rates_and_the_pass_has_its_own(tmp_path, pictures):
    words = ["r50", "--size", "32", "--images", pictures, "--steps", "1", "--warm-up", "1"]
    run("teacher_peer", *TOY, *words, "--rounds", "1", "--out", tmp_path / "p")
    rows = json.loads((tmp_path / "p.json").read_text())["rows"]
    found = {row["training"]: row for row in rows if "training" in row}
    assert set(found) == {"ours, crop", "ours, stored"}
    assert all(row["images/s"] > 0 for row in found.values()), found
    assert "pass, images/s" in found["ours, stored"]
    assert "pass, images/s" not in found["ours, crop"]


def test_rates_are_compared_round_by_round(load):
    rates = {
        "ours, stored": [80.0, 100.0, 120.0],
        "lightly-train, distillation": [40.0, 25.0, 20.0],
    }
    asked = {"ours, stored": [50.0, 50.0, 50.0]}
    own, other = load("teacher_peer").table_of(rates, asked, dict(teacher="r50"))
    assert own["images/s"] == 100
    assert (own["times lightly-train"], own["times it, rounds"]) == (4, "2 to 6")
    assert own["pass, images/s"] == 50
    # 1/50 s an image of the pass, and 1/25 - 1/100 s saved in each epoch.
    assert own["less time from epoch"] == pytest.approx(0.02 / 0.03)
    assert other["times lightly-train"] == 1
    assert "pass, images/s" not in other


def test_a_pass_that_saves_nothing_is_never_paid(load):
    assert load("teacher_peer").epochs_until_paid(20, 50, 25) == "never"


def test_one_way_that_fails_is_named_and_the_others_are_timed(load):
    calls = iter([9.0, 1.0, 3.0])

    def broken() -> float:
        raise RuntimeError("no\nmemory")

    found, failed = load("teacher_peer").take_turns({"a": calls.__next__, "b": broken}, 2)
    assert found["a"].rounds == (1, 3)  # the first round warms up
    assert set(found) == {"a"}
    assert failed == {"b": "RuntimeError: no memory"}


def test_the_clock_is_read_after_the_steps_that_warm_up_and_at_the_end(load, tmp_path, monkeypatch):
    clock = load("teacher_peer_clock")
    ticks = SimpleNamespace(
        perf_counter=iter([10, 16]).__next__, process_time=iter([1, 4]).__next__
    )
    monkeypatch.setattr(clock, "time", ticks)
    stamps = clock.Stamps(tmp_path / "s.json", 5, 2)
    stamps.add(images=7)
    for step in range(5):
        assert not (tmp_path / "s.json").exists(), step
        stamps.note()
    assert json.loads((tmp_path / "s.json").read_text()) == dict(
        wall=[10, 16], cpu=[1, 4], images=7
    )


def test_a_set_has_as_many_files_as_a_training_needs(load, tmp_path, pictures):
    runs = load("teacher_peer_runs")
    args = Namespace(warm_up=1, steps=2, batch=4, queue=8, images=pictures)
    runs.provide_images(args, tmp_path / "many")
    assert len(list((tmp_path / "many").iterdir())) == args.images_made == 12
    args.queue = 40  # none of lightly-train's may be as long as the set
    runs.provide_images(args, tmp_path / "more")
    assert args.images_made == 44
    with pytest.raises(ValueError, match=r"no \.jpg or \.jpeg in"):
        runs.many_images(tmp_path / "nothing", 1, tmp_path / "out")


def test_a_process_that_cannot_import_the_other_is_told_and_not_waited_for(load, tmp_path):
    runs = load("teacher_peer_runs")
    args = Namespace(peer=tmp_path, threads=1, queue=8, batch=2, size=28)
    assert runs.version_of_peer(args) is None
    steps = runs.their_ways(args, "vit-s14", "bf16", "cpu")
    with pytest.raises(runs.Failed, match="ended with 1"):
        steps.__enter__()


def test_the_part_of_a_gpu_run_tells_steps_and_trainings_and_how_to_have_the_other(
    load, tmp_path, pictures, monkeypatch
):
    gpu_teacher, peer = load("gpu_teacher"), load("teacher_peer")
    runs = load("teacher_peer_runs")

    def fails(folder):
        raise runs.Failed("ended with 1: no memory")

    ways = {"ours, stored": lambda folder: runs.Trained(30.0, 90.0), "ours, crop": fails}
    monkeypatch.setattr(peer, "training_ways", lambda *args: ways)
    monkeypatch.setattr(gpu_teacher, "TEACHERS", {"r50": peer.TEACHERS["r50"]})
    file = tmp_path / "rows.jsonl"
    gpu_teacher.teacher(load("gpu_parts").Part(file, 600.0, True, None, pictures))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert ["--peer" in line["note"] for line in lines if "note" in line] == [True]
    rows = [line["row"] for line in lines if "row" in line]
    assert {row["step"] for row in rows if "step" in row} >= {"ours, crop", "ours, stored"}
    stored, crop = (row for row in rows if "training" in row)
    assert (stored["images/s"], stored["pass, images/s"]) == (30, 90)
    assert "no memory" in crop["failed"]
