# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
import pytest

from xmoco_plugin.data.shards import epoch_order

LENGTHS = [50, 31, 50, 50, 7, 50, 50, 50, 44, 50, 50, 18]
STARTS = np.cumsum(LENGTHS) - LENGTHS


def shards_of(images) -> np.ndarray:
    return np.searchsorted(STARTS, images, side="right") - 1


@pytest.mark.parametrize("mixed", [1, 3, 4, 64, 10_000])
def test_every_image_comes_once(mixed):
    assert sorted(epoch_order(LENGTHS, 3, mixed)) == list(range(500))


def test_another_seed_gives_another_order_and_the_same_seed_the_same():
    first, again, other = (epoch_order(LENGTHS, seed, 4) for seed in (1, 1, 2))
    assert (first == again).all()
    assert (first != other).mean() > 0.9


def test_one_lane_reads_one_shard_after_the_other():
    changes = np.diff(shards_of(epoch_order(LENGTHS, 0, 1))) != 0
    assert changes.sum() == len(LENGTHS) - 1


def test_lanes_read_no_more_shards_at_a_time_than_they_are():
    order = shards_of(epoch_order(LENGTHS, 0, 4))
    for start in range(0, 500 - 8, 4):
        # Two images of each lane; each may be at the border of two shards.
        assert len(set(order[start : start + 4])) <= 4


def test_processes_read_each_shard_once_together_but_for_those_that_lanes_cut():
    order = shards_of(epoch_order(LENGTHS * 8, 0, 8))
    read = [len(set(order[rank::4])) for rank in range(4)]
    assert sum(read) <= len(LENGTHS) * 8 + 8
    assert max(read) < len(LENGTHS) * 8 / 2


def test_neighbours_are_as_far_from_one_another_as_in_a_random_order():
    order = epoch_order([100] * 200, 0, 64)
    assert np.abs(np.diff(order)).mean() == pytest.approx(20_000 / 3, rel=0.05)
