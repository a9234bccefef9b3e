# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One process, two and four: the same losses, gradients, queue and key encoder."""

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from tests.live_tensors import LiveTensors
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
    "own key, doubts, batch": dict(
        consistency=dict(
            target="momentum",
            divergence="kl",
            teacher_temperature=0.1,
            positive=True,
            confidence=True,
        )
    ),
    "features": dict(
        consistency=dict(pairs="queue", target="momentum", divergence="kl", space="backbone")
    ),
    "simplex": dict(uniformity=dict(target="simplex", loss_weight=1.0)),
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


class Telltale:
    """Work of torch.distributed that notes when it is waited for."""

    def __init__(self, work, events):
        self.work, self.events = work, events

    def wait(self):
        self.events.append("wait")
        return self.work.wait()


def events_of_a_step(model, part):
    """What a step does, in order: shuffles begun or done at once, waits, encoders."""
    events = []
    original = torch.distributed.all_to_all_single

    def watched(*args, async_op=False, **kwargs):
        work = original(*args, async_op=async_op, **kwargs)
        events.append("begin" if async_op else "all at once")
        return Telltale(work, events) if async_op else work

    handles = [
        encoder.register_forward_pre_hook(lambda *_, name=name: events.append(name))
        for name, encoder in (("query", model.backbone), ("key", model.encoder_k))
    ]
    torch.distributed.all_to_all_single = watched
    try:
        model.loss(part, None)
    finally:
        torch.distributed.all_to_all_single = original
        for handle in handles:
            handle.remove()
    return events


def overlapped_and_not(rank, size, symmetric):
    """Five steps with BatchNorm, where it shows which image went where; the events of a sixth."""
    results = []
    for overlap in (True, False):
        model = build(norm=True, symmetric=symmetric, overlap_shuffle=overlap)
        # Buffers are broadcast before the shuffle begins, gradients reduced after it is over.
        wrapped = DistributedDataParallel(model, broadcast_buffers=True)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        totals = []
        for seed in range(STEPS):
            part = [v[rank * N // size : (rank + 1) * N // size] for v in views(N, seed)]
            optimizer.zero_grad()
            total = sum(wrapped(part, mode="loss").values())
            total.backward()
            optimizer.step()
            totals.append(total.detach())
        state = {name: value.clone() for name, value in model.state_dict().items()}
        events = events_of_a_step(model, part)
        results.append(dict(totals=torch.stack(totals), state=state, events=events))
    return results


@pytest.mark.parametrize("symmetric", [False, True])
def test_key_images_travel_while_the_queries_are_encoded_and_no_bit_changes(symmetric):
    passes = 2 if symmetric else 1
    for with_overlap, without in run_processes(overlapped_and_not, 2, symmetric):
        assert torch.equal(with_overlap["totals"], without["totals"])
        for name, value in without["state"].items():
            assert torch.equal(with_overlap["state"][name], value), name
        key = ["wait", "key", "all at once"]
        assert with_overlap["events"] == [*["begin"] * passes, *["query"] * passes, *key * passes]
        assert without["events"] == ["query"] * passes + ["begin", *key] * passes


def copies_of_views_in_a_step(symmetric, expected, rank=0, size=1):
    """Copies of a view that are alive when each encoder begins, and at the end; the most at once.

    ``expected`` is waited for, see ``LiveTensors.settled``.
    """
    model = build(norm=True, symmetric=symmetric)
    part = [v[rank * N // size : (rank + 1) * N // size] for v in views(N, 0)]
    copies, alive = LiveTensors(part[0].shape), []

    def note(name):
        alive.append((name, copies.settled(at_most=expected[len(alive)][1])))

    for name, encoder in (("query", model.backbone), ("key", model.encoder_k)):
        encoder.register_forward_pre_hook(lambda *_, name=name: note(name))
    with copies:
        losses = model.loss(part, None)  # held, as by a runner that goes on to the backward pass
        note("end")
    assert losses
    return alive, copies.peak


def copies_on_a_rank(rank, size, one, both):
    return [copies_of_views_in_a_step(*c, rank, size)[0] for c in ((False, one), (True, both))]


def test_a_step_holds_copies_of_the_key_images_only_while_they_travel_and_are_encoded():
    """The counts in docs/lab/performance.md."""
    one = [("query", 0), ("key", 1), ("end", 0)]
    assert copies_of_views_in_a_step(False, one) == (one, 2)
    both = [("query", 0), ("query", 0), ("key", 1), ("key", 1), ("end", 0)]
    assert copies_of_views_in_a_step(True, both) == (both, 2)
    one = [("query", 2), ("key", 1), ("end", 0)]
    both = [("query", 4), ("query", 4), ("key", 3), ("key", 1), ("end", 0)]
    assert run_processes(copies_on_a_rank, 2, one, both) == [[one, both]] * 2
