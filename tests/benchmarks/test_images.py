# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The benchmarks of picking images to label and of finding like ones, in small."""

import argparse

import numpy as np
import pytest
import torch

from ..data.test_near_duplicates import picture


def test_the_benchmark_of_picking_judges_each_way_in_a_pool_of_each_seed(load):
    selection = load("selection")
    generator = torch.Generator().manual_seed(0)
    labels = np.repeat(np.arange(4), 60)
    noise = 0.2 * torch.randn(240, 6, generator=generator)
    features = torch.nn.functional.normalize(torch.eye(6)[labels] + noise, dim=1)
    args = argparse.Namespace(images=100, tail=4.0, draws=2, cost=10.0)
    counts = np.bincount(
        labels[selection.draw_pool(labels, 100, 4.0, np.random.default_rng(1))], minlength=4
    )
    assert counts.max() == pytest.approx(4 * counts.min(), abs=4)
    scores = selection.of_seed(0, 4, (features, labels), (features, labels), args)
    assert set(scores) == set(selection.WAYS)
    assert scores["typical"]["classes"] == 4  # one of each cluster
    assert scores["typical"]["1-NN"] > 90
    assert scores["random"]["classes"] < 4
    assert selection.spread([2.0]) == "2.0"  # of one seed
    assert selection.spread([1.0, 3.0]) == "2.0 ± 1.4"


def test_the_ways_to_find_near_hashes_find_the_same(load, tmp_path):
    near = load("near")
    images = np.stack([picture(seed, 32, 32) for seed in range(12)])
    np.savez(tmp_path / "images.npz", images=images)
    prints = near.hashes([tmp_path / "images.npz"], 20)
    codes = np.array([np.frombuffer(one.bits, np.uint8) for one in prints])
    found = {way(codes, 20, 10) for way in (near.by_opencv, near.by_tree)}
    assert len(found) == 1
    assert found.pop() >= 8  # of the eight that were cut off, both ways
    with pytest.raises(SystemExit, match="12 images are too few for 200 hashes"):
        near.hashes([tmp_path / "images.npz"], 200)


def test_each_change_of_the_benchmark_of_hashes_changes_a_picture(load):
    changes = load("near_changes")
    pixels = picture(0)
    bits = changes.ours(pixels)
    assert bits.shape == (64,)
    far = {
        name: int((changes.ours(f(pixels)) != bits).sum()) for name, f in changes.CHANGES.items()
    }
    assert far["mirrored"] > 12
    assert max(far["JPEG 75"], far["contrast x 0.7"]) <= 6
    assert all(not np.array_equal(f(pixels), pixels) for f in changes.CHANGES.values())
