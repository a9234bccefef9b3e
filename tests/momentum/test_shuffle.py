# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch
import torch.distributed as dist

from tests.live_tensors import LiveTensors
from tests.multiprocess import run_processes
from xmoco_plugin.distributed import RowExchange
from xmoco_plugin.momentum import ShufflePlan


def images_of(rank, n):
    return torch.arange(n * 6, dtype=torch.float32).reshape(n, 2, 3) + 1000 * rank


def shuffle_and_back(rank, size, n):
    """Compared with gathering everything, as the slow reference does."""
    results = []
    for seed in range(8):
        permutation = torch.randperm(size * n, generator=torch.Generator().manual_seed(seed))
        plan = ShufflePlan.draw(n, seed)
        images = images_of(rank, n)
        shuffled = plan.begin_shuffle(images).arrived()
        gathered = [torch.empty_like(images) for _ in range(size)]
        dist.all_gather(gathered, images)
        expected = torch.cat(gathered)[permutation][rank * n : (rank + 1) * n]
        results.append(
            dict(
                shuffled=torch.equal(shuffled, expected),
                back=torch.equal(plan.unshuffle(shuffled), images),
                sent=sum(plan.send_counts),
                received=sum(plan.receive_counts),
                kept=plan.send_counts[rank],
            )
        )
    return results


@pytest.mark.parametrize(("size", "n"), [(2, 8), (4, 6), (2, 1)])
def test_shuffle_is_the_permutation_of_the_global_batch_and_its_inverse_is_exact(size, n):
    for results in run_processes(shuffle_and_back, size, n):
        assert all(r["shuffled"] and r["back"] for r in results)
        assert all(r["sent"] == r["received"] == n for r in results)
        assert any(r["kept"] < n for r in results)


def test_one_process_permutes_and_restores():
    torch.manual_seed(0)
    plan = ShufflePlan.draw(16, seed=0)
    images = images_of(0, 16)
    shuffled = plan.begin_shuffle(images).arrived()
    assert not torch.equal(shuffled, images)
    assert torch.equal(shuffled.sort(dim=0).values, images)
    assert torch.equal(plan.unshuffle(shuffled), images)


def test_a_batch_of_another_size_than_the_plan_is_refused():
    with pytest.raises(ValueError, match="for 4 images per rank, got 3"):
        ShufflePlan.draw(4, seed=0).begin_shuffle(torch.zeros(3, 2))


def shuffled_in_the_background(rank, size):
    plan = ShufflePlan.draw(8, seed=0)
    images = images_of(rank, 8)
    expected = plan.begin_shuffle(images).arrived()
    on_their_way = plan.begin_shuffle(images)
    images.zero_()  # what travels is a copy
    other = torch.full((4,), float(rank))
    dist.all_reduce(other)  # a collective in between is another one
    return dict(same=torch.equal(on_their_way.arrived(), expected), other=other)


def test_a_shuffle_in_the_background_delivers_what_it_was_given():
    for result in run_processes(shuffled_in_the_background, 2):
        assert result["same"]
        assert result["other"].tolist() == [1.0] * 4


def copies_of_a_shuffle(rank, size):
    """Copies of the images while they travel, when they have arrived, when those are dropped."""
    images = images_of(rank, 8)
    with LiveTensors(images.shape) as copies:
        shuffled = ShufflePlan.draw(8, seed=0).begin_shuffle(images)
        alive = [copies.alive()]
        arrived = shuffled.arrived()
        alive.append(copies.settled(at_most=1))
        del arrived
        alive.append(copies.settled(at_most=0))
    assert shuffled.plan  # alive itself, as it is until the end of a step
    return alive


def test_arrived_images_are_the_only_copy_and_the_callers_alone():
    assert copies_of_a_shuffle(0, 1) == [1, 1, 0]
    assert run_processes(copies_of_a_shuffle, 2) == [[2, 1, 0]] * 2


def test_what_has_arrived_is_handed_over_once():
    shuffled = ShufflePlan.draw(4, seed=0).begin_shuffle(torch.zeros(4, 2))
    shuffled.arrived()
    with pytest.raises(RuntimeError, match="images have been handed over"):
        shuffled.arrived()
    exchange = RowExchange(torch.zeros(4, 2), [4], [4])
    exchange.wait()
    with pytest.raises(RuntimeError, match="rows of this exchange have been handed over"):
        exchange.wait()
