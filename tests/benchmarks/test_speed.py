# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The benchmarks of speed, memory and bytes run; how long they take is not tested."""

import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from .command import run


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
    assert {"mmpretrain", "ours, no terms", "ours", "ours, channels_last"} <= set(models)
    assert models["mmpretrain"]["of mmpretrain, rounds"] == "1 to 1"
    assert models["mmpretrain"]["time / mmpretrain"] == 1
    parts = {row["part of ours"]: row["share %"] for row in rows if "part of ours" in row}
    assert sum(parts.values()) == pytest.approx(100)
    assert parts["backward"] > parts["shuffle and back"] > 0
    assert parts["backward"] > parts["queue"] > 0
    ways = {row["way"]: row for row in rows if "way" in row}
    assert all(0 < row["waits for data %"] < row["between steps %"] < 100 for row in ways.values())
    assert {"mmpretrain", "ours, device views"} <= set(ways)
    text = (tmp_path / "out/step.md").read_text()
    assert sum(line.startswith("| ---") for line in text.splitlines()) == 3  # a table each


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


def test_the_tiles_benchmark_reads_the_same_tiles_from_each_file(load, tmp_path, monkeypatch):
    words = ["tiles.py", "--picture", "256", "--side", "128", "--repeats", "1"]
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "tiles")])
    load("tiles").main()
    rows = {
        row["tiles from"]: row for row in json.loads((tmp_path / "tiles.json").read_text())["rows"]
    }
    assert rows["tiles as JPEG files"]["times JPEG files"] == 1
    assert rows["TIFF, parts of 256 px, deflate"]["tiles/s"] > 0


def test_the_layouts_of_a_step_begin_with_equal_losses(load, tmp_path, monkeypatch):
    words = ["layout.py", "--models", "MobileNetV2", "--size", "32", "--batch", "4"]
    monkeypatch.setattr(sys, "argv", [*words, "--repeats", "1", "--out", str(tmp_path / "layout")])
    load("layout").main()
    rows = {row["way"]: row for row in json.loads((tmp_path / "layout.json").read_text())["rows"]}
    assert set(rows) == {"plain", "channels last", "plain, bf16", "channels last, bf16"}
    apart = {way: float(row["first loss differs by"]) for way, row in rows.items()}
    assert apart["channels last"] < 5e-3 < apart["plain, bf16"] < 1


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


def test_the_cost_of_the_health_hook_is_its_share_of_a_step_with_the_spread(
    load, monkeypatch, capsys
):
    sizes = ["--batch", "4", "--queue", "64", "--dim", "16", "--repeats", "3", "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["health.py", *sizes])
    # A clock that says: steps of 10 s, a look takes 1, 6 and 2 s more, a reading 5 s.
    rounds = [[10, 11, 5], [10, 16, 5], [10, 12, 5]]
    ticks = [0, 1, 0, 1]  # two steps that warm up
    for step, watched, reading in rounds:
        ticks += [0, step, 0, watched, watched + reading]
    health = load("health")
    clock = SimpleNamespace(process_time=iter(ticks).__next__)
    monkeypatch.setattr(health, "time", clock)
    health.main()
    row = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (row["step_ms"], row["watched_ms"], row["reading_ms"]) == (10_000, 12_000, 5_000)
    # A look in 50 steps, a reading in 100: (extra / 50 + 5 / 100) / 10.
    assert row["share_of_step_percent"] == pytest.approx(0.9)
    assert (row["share_least"], row["share_greatest"]) == pytest.approx((0.7, 1.7))
    assert row["device"] == "cpu"
