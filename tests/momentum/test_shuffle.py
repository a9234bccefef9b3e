# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch
import torch.distributed as dist

from tests.multiprocess import run_processes
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
        shuffled = plan.shuffle(images)
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
    shuffled = plan.shuffle(images)
    assert not torch.equal(shuffled, images)
    assert torch.equal(shuffled.sort(dim=0).values, images)
    assert torch.equal(plan.unshuffle(shuffled), images)


def test_a_batch_of_another_size_than_the_plan_is_refused():
    with pytest.raises(ValueError, match="for 4 images per rank, got 3"):
        ShufflePlan.draw(4, seed=0).shuffle(torch.zeros(3, 2))
