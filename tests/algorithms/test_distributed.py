# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One process, two and four: the same losses, gradients, queue and key encoder."""

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from tests.losses.test_values import OPTIONS
from tests.models import build, views
from tests.multiprocess import run_processes

N = 8  # global batch
STEPS = 5  # 40 keys, or 80 if symmetric: more than the queue of 24 holds
HEADS = {
    **{
        f"consistency {pairs}/{target}/{divergence}": dict(
            consistency=dict(pairs=pairs, target=target, divergence=divergence)
        )
        for pairs, target, divergence in OPTIONS
    },
    **{
        f"uniformity {negatives}/{direction}": dict(
            uniformity=dict(negatives=negatives, direction=direction, loss_weight=1.0)
        )
        for negatives in ("batch", "queue")
        for direction in ("forward", "reverse")
    },
    "info_nce": dict(),
    "all, symmetric": dict(consistency=dict(), uniformity=dict(), symmetric=True),
}


def one_step(rank, size, name):
    """Terms averaged over ranks, and the gradients that DDP leaves, of the last of five steps."""
    options = dict(HEADS[name])
    symmetric = options.pop("symmetric", False)
    model = build(norm=False, symmetric=symmetric, head=dict(type="XMoCoHead", **options))
    wrapped = model if size == 1 else DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for seed in range(STEPS):
        part = [v[rank * N // size : (rank + 1) * N // size] for v in views(N, seed)]
        losses = wrapped(part, mode="loss")
        optimizer.zero_grad()
        sum(losses.values()).backward()
        if seed < STEPS - 1:
            optimizer.step()
    terms = torch.stack([losses[key].detach() for key in sorted(losses)])
    if size > 1:
        torch.distributed.all_reduce(terms)
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return dict(terms=terms / size, gradients=gradients, state=model.state_dict())


def all_heads(rank, size):
    return {name: one_step(rank, size, name) for name in HEADS}


@pytest.fixture(scope="module")
def single():
    return all_heads(0, 1)


@pytest.mark.parametrize("size", [2, 4])
def test_processes_together_are_one_process(single, size):
    ranks = run_processes(all_heads, size)
    for name, expected in single.items():
        assert expected["terms"].abs().min() > 0
        for rank, results in enumerate(ranks):
            got = results[name]
            assert torch.allclose(got["terms"], expected["terms"], rtol=1e-6, atol=0), name
            assert got["gradients"].keys() == expected["gradients"].keys()
            for parameter, gradient in expected["gradients"].items():
                error = (got["gradients"][parameter] - gradient).norm() / gradient.norm()
                assert error < 1e-6, (name, parameter)
            for key, value in expected["state"].items():
                assert torch.allclose(got["state"][key], value, atol=1e-9), (name, key)
            assert all(
                torch.equal(got["state"][key], ranks[0][name]["state"][key])
                for key in ("queue", "queue_ptr")
            ), (name, rank)


def batchnorm_steps(rank, size):
    """Keys of a net with BatchNorm, shuffled, over some steps of training; the queue after each."""
    model = build(norm=True)
    wrapped = DistributedDataParallel(model, broadcast_buffers=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    queues = []
    for seed in range(6):
        n = 4 + 2 * (seed % 3)  # batches that do not divide the queue
        part = [v[rank * n // size : (rank + 1) * n // size] for v in views(n, seed)]
        optimizer.zero_grad()
        sum(wrapped(part, mode="loss").values()).backward()
        optimizer.step()
        queues.append(model.queue.clone())
    return dict(queues=torch.stack(queues), slot=model.slot, parameters=model.state_dict())


def test_queue_and_encoders_stay_equal_on_all_ranks_over_steps_with_batchnorm():
    first, second = run_processes(batchnorm_steps, 2)
    assert torch.equal(first["queues"], second["queues"])
    assert first["slot"] == second["slot"] == 36 % 24
    assert not torch.equal(first["queues"][0], first["queues"][-1])
    for name, value in first["parameters"].items():
        if "running" not in name:
            assert torch.equal(value, second["parameters"][name]), name
