# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The benchmarks that train: linear.py, data_paths.py, plug_in.py."""

import json
import sys
from argparse import Namespace

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

from xmoco_plugin.data import Pack


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
