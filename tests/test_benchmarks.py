# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The benchmarks run, and their report is honest; how long they take is not tested."""

import importlib
import json
import os
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

from xmoco_plugin.data import Pack

BENCHMARKS = Path(__file__).parents[1] / "tools" / "benchmarks"
FACTS = dict(processor="p", cores=2, device="cpu", threads=1, commit="c0ffee")


@pytest.fixture
def load(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    threads, cv_threads = torch.get_num_threads(), cv2.getNumThreads()
    yield importlib.import_module
    torch.set_num_threads(threads)
    cv2.setNumThreads(cv_threads)


def run(name: str, *arguments) -> None:
    """In a process of its own: it forks, which torch refuses after some backward passes."""
    subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
        timeout=600,
    )


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


def test_a_ratio_is_taken_round_by_round_and_shows_its_spread(load):
    measure = load("measure")
    # Twice as slow in the median round of a machine that slows down: the medians alone say 1.
    own, other = measure.Seconds([2.0, 4.0, 40.0]), measure.Seconds([1.0, 4.0, 10.0])
    assert (own, other) == (4.0, 4.0)
    assert measure.ratio(own, other) == (2.0, "1 to 4")


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


def test_the_loss_benchmark_runs(tmp_path):
    words = ["--batch", "4", "--queue", "64", "--repeats", "1", "--chunk-size", "16"]
    run("loss", *words, "--out", tmp_path / "loss")
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


def test_a_torchvision_without_nvjpeg_costs_the_views_benchmark_one_row(load, monkeypatch, capsys):
    views = load("views")
    monkeypatch.setattr(views, "installed", lambda name: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)

    def refuse(files, mode, device):
        raise RuntimeError(
            "decode_jpegs_cuda: torchvision not compiled with nvJPEG support\nat ..."
        )

    monkeypatch.setattr(views.io, "decode_jpeg", refuse)
    assert not [name for name in views.decoders() if "nvJPEG" in name]
    (line,) = capsys.readouterr().out.splitlines()
    assert "not compiled with nvJPEG support" in line
    monkeypatch.setattr(views.io, "decode_jpeg", lambda files, mode, device: files)
    assert "decoding: nvJPEG, by batches" in views.decoders()


def test_the_step_benchmark_times_the_peers_and_the_parts_of_ours(tmp_path):
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (40, 50 + i, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f"{i}.jpg"), pixels)
    sizes = ["--batch", "4", "--size", "32", "--depth", "18", "--queue", "64", "--repeats", "1"]
    jpegs = ["--images", str(tmp_path), "--steps", "1", "--warm-up", "1"]
    run("step", *sizes, *jpegs, "--out", tmp_path / "out/step")
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


def test_the_linear_benchmark_trains_many_heads_and_compares_them_with_the_probe(
    load, tmp_path, monkeypatch
):
    backbone = dict(
        type="ResNet_CIFAR", depth=18, base_channels=8, stem_channels=8, strides=(2, 2, 2, 2)
    )
    torch.manual_seed(0)  # some draws have features so large that every head diverges
    weights = MODELS.build({**backbone, "_scope_": "mmpretrain"}).state_dict()
    torch.save(
        dict(
            state_dict={f"backbone.{key}": value for key, value in weights.items()},
            meta=dict(cfg=f"model = dict(backbone={backbone})"),
        ),
        tmp_path / "pretrained.pth",
    )
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        images = random.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{split}.npz", images=images, labels=np.arange(40) % 10)
    words = ["linear.py", str(tmp_path / "pretrained.pth"), "--data-root", str(tmp_path)]
    sizes = ["--images", "30", "--choose", "10", "--epochs", "2", "--passes", "2", "--lr", "1e-3"]
    monkeypatch.setattr(sys, "argv", [*words, *sizes, "3", "--out", str(tmp_path / "out")])
    load("linear").main()
    rows = json.loads((tmp_path / "out/linear.json").read_text())["rows"]
    names = [row["protocol"].split(", lr")[0] for row in rows]
    assert names == ["full", "full", "fast", "fast, 2 augmented passes"]
    assert any(row["minus full"] == row["standard error"] == 0 for row in rows[:2])
    assert all(0 <= row["top1"] <= 100 for row in rows)


def test_the_difference_of_two_classifiers_counts_the_images_that_they_disagree_on(load):
    right = torch.tensor([1, 1, 1, 0, 0, 1, 1, 1, 1, 0], dtype=torch.bool)
    other = torch.tensor([1, 1, 0, 1, 0, 1, 0, 0, 1, 0], dtype=torch.bool)
    each = 100 * (right.double() - other.double())
    found = load("linear").difference(right, other)
    assert found == pytest.approx((float(each.mean()), float(each.std(correction=0)) / 10**0.5))


def test_the_loader_benchmark_times_resident_images_beside_the_ordinary_loader(
    load, tmp_path, monkeypatch
):
    words = ["resident.py", "--batch", "4", "--batches", "1", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "resident")])
    load("resident").main()
    rows = json.loads((tmp_path / "resident.json").read_text())["rows"]
    rates = {row["loader"]: row["times the ordinary"] for row in rows}
    assert rates["ordinary, mmpretrain's views"] == 1
    assert rates["resident"] > 0


def test_the_data_paths_are_compared_on_the_same_images_with_equal_budgets(
    load, tmp_path, monkeypatch
):
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        images = rng.integers(0, 256, (24, 32, 32, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{split}.npz", images=images, labels=np.arange(24) % 3)
    words = ["data_paths.py", "--data-root", str(tmp_path), "--out", str(tmp_path / "out")]
    sizes = ["--images", "16", "--epochs", "1", "--batch", "8", "--bank", "24", "--queries", "8"]
    monkeypatch.setattr(sys, "argv", [*words, *sizes, "--seeds", "0"])
    data_paths = load("data_paths")
    data_paths.main()
    runs = json.loads((tmp_path / "out/results.json").read_text())["runs"]
    assert [run["path"] for run in runs] == list(data_paths.PATHS)
    assert len({run["before"] for run in runs}) == 1
    packed = Pack(tmp_path / "out/pack")
    pixels = np.load(tmp_path / "train.npz")["images"]
    assert len(packed) == 16
    np.testing.assert_array_equal(packed.pixels(3), pixels[3, :, :, ::-1])


def test_runs_of_other_options_are_not_taken_for_those_that_are_missing(load, tmp_path):
    plug_in = load("plug_in")
    here, moved, other = (tmp_path / name for name in ("here", "moved", "other"))
    for folder in (here, moved, other):
        folder.mkdir()
        np.savez(folder / "train.npz", images=np.full(3, folder == other))
        np.savez(folder / "test.npz", images=np.zeros(2))
    runs = {"a": lambda: dict(after=1), "b": lambda: dict(after=2)}
    options = dict(out=tmp_path / "out", epochs=2, seeds=[0], data_root=str(here))
    first = Namespace(**options)
    plug_in.run_missing(runs, lambda found: str(len(found)), first)
    more = Namespace(**options | dict(seeds=[0, 1], data_root=str(moved)))
    plug_in.run_missing({**runs, "c": lambda: dict(after=3)}, lambda found: str(len(found)), more)
    found = json.loads((tmp_path / "out/results.json").read_text())["runs"]
    assert [run["after"] for run in found] == [1, 2, 3]
    for change, message in (
        (dict(epochs=9), r"--epochs was 2, now 9\. Name another --out"),
        (
            dict(data_root=str(other)),
            r"--data-root was train\.npz \w{8}, test\.npz \w{8}, now train",
        ),
    ):
        with pytest.raises(SystemExit, match=message):
            plug_in.run_missing(runs, str, Namespace(**options | change))
    (tmp_path / "out/options.json").unlink()
    with pytest.raises(SystemExit, match=r"holds runs, but .*options\.json is gone"):
        plug_in.run_missing(runs, str, first)


def test_exponents_are_those_of_a_power_law_and_noise_shows_in_their_error(load):
    fit = load("growth").fit
    assert fit([2, 4, 8], [3 * x**1.5 for x in (2, 4, 8)]) == pytest.approx((1.5, 0), abs=1e-9)
    exponent, error = fit([1, 10, 100], [1, 20, 100])
    assert exponent == pytest.approx(1)
    # Residuals of the logarithms to base 10: -a, 2a, -a with a = log10(2) / 3.
    assert error == pytest.approx(np.log10(2) / 3 * np.sqrt(6 / 2))


def test_the_growth_of_head_and_views_is_measured(tmp_path):
    head = ["--queries", "4", "8", "--keys", "64", "128", "--fixed-queries", "4"]
    rest = ["--fixed-keys", "64", "--chunk", "16", "--sides", "16", "24", "--processes"]
    run("growth", *head, *rest, "--repeats", "1", "--out", tmp_path / "g")
    rows = json.loads((tmp_path / "g.json").read_text())["rows"]
    assert len({(row["cost"], row["against"]) for row in rows}) == len(rows) == 3 * 4 + 2 * 2
    assert {row["sizes"] for row in rows} == {"4, 8", "64, 128", "16, 24"}
    assert all(np.isfinite(row["exponent"]) for row in rows)


def test_bytes_between_processes_are_measured_and_are_those_on_paper(load, tmp_path):
    comm = load("comm")
    run(
        "comm",
        "--processes",
        2,
        "--batch",
        4,
        "--image-size",
        16,
        "--repeats",
        9,
        "--out",
        tmp_path / "c",
    )
    rows = json.loads((tmp_path / "c.json").read_text())["rows"]
    measured = {
        (row["part"], name): row[f"{name} MB"]
        for row in rows
        for name in ("host", "ours")
        if "part" in row and f"{name} MB" in row
    }
    paper = {key: value / 1e6 for key, value in comm.on_paper(2, 4, 16).items()}
    assert measured.keys() == paper.keys()
    drawn = (comm.SHUFFLE, "ours")  # as the permutations have it: a half on average
    assert {k: v for k, v in measured.items() if k != drawn} == pytest.approx(
        {k: v for k, v in paper.items() if k != drawn}, abs=6e-4
    )
    assert 0 < measured[drawn] < measured[comm.SHUFFLE, "host"]
    assert {row["processes"] for row in rows if "on paper" in row} == {8, 64, 512}


def test_the_cost_of_the_health_hook_is_given_with_its_spread_and_commit(load, monkeypatch, capsys):
    sizes = ["--batch", "4", "--queue", "64", "--dim", "16", "--repeats", "3", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["health.py", *sizes])
    load("health").main()
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert row["share_least"] <= row["share_of_step_percent"] <= row["share_greatest"]
    assert (row["device"], row["commit"]) == ("cpu", load("measure").environment()["commit"])
