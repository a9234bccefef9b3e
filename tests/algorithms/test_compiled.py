# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Encoders as CUDA graphs: torch is told where a step begins, and nothing is read too late."""

import copy

import pytest
import torch

from tests.algorithms.test_xmoco import learned, train
from tests.models import build, views

pytestmark = pytest.mark.usefixtures("nothing_compiled_before")


class Backend:
    """A compiler that changes nothing and counts what it was given."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, examples, **options):
        self.graphs += 1
        return graph.forward


@pytest.fixture
def marks(monkeypatch):
    """Calls that tell torch where a step begins."""
    found = []
    monkeypatch.setattr(torch.compiler, "cudagraph_mark_step_begin", lambda: found.append(1))
    return found


def micro_batches(model, optimizer, count, first=0, device="cpu"):
    """One optimizer step over so many batches; their losses, as tensors."""
    losses = []
    for i in range(first, first + count):
        torch.manual_seed(i)
        batch = [view.to(device) for view in views(8, i)]
        losses.append(sum(model.loss(batch, None).values()))
        (losses[-1] / count).backward()
    optimizer.step()
    optimizer.zero_grad()
    return losses


@pytest.mark.parametrize("symmetric", [False, True])
def test_each_optimizer_step_is_marked_once_where_the_mode_captures_graphs(marks, symmetric):
    options = dict(backend=Backend(), mode="reduce-overhead")
    model = build(symmetric=symmetric, compile_encoders=options)
    assert options.keys() == {"backend", "mode"}
    train(model, 3)
    assert len(marks) == 3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(2):
        micro_batches(model, optimizer, 3, 3 * step)
    # Before the gradients of a step are used up, no new step: they lie in the graphs' memory.
    assert len(marks) == 5


@pytest.mark.parametrize(
    "options",
    [
        dict(mode="max-autotune"),
        dict(options={"triton.cudagraphs": True}),
        dict(backend="cudagraphs"),
    ],
    ids=str,
)
def test_every_way_to_ask_for_graphs_is_known(options, marks, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **kwargs: None)
    train(build(compile_encoders=options), 2)
    assert len(marks) == 2


@pytest.mark.parametrize(
    "options", [False, True, dict(), dict(mode="max-autotune-no-cudagraphs"), dict(options={})]
)
def test_without_graphs_no_step_is_marked_and_features_come_as_before(options, marks, monkeypatch):
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **kwargs: None)
    stances = []
    monkeypatch.setattr(torch.compiler, "set_stance", stances.append)
    model = build(compile_encoders=options)
    train(model, 2)
    model.extract_feat(views(8, 0)[0])
    assert (marks, stances) == ([], [])


def test_features_are_never_out_of_a_graph_and_come_in_any_size(marks):
    backend = Backend()
    model = build(compile_encoders=dict(backend=backend, mode="reduce-overhead"))
    plain = build()
    train(model, 1)
    train(plain, 1)
    compiled = backend.graphs
    assert compiled >= 3  # backbone, neck, key encoder
    for n in (8, 5, 3):
        images = views(n, n)[0]
        for mine, other in zip(model.extract_feat(images), plain.extract_feat(images), strict=True):
            assert torch.allclose(mine, other, atol=1e-9)
    assert backend.graphs == compiled
    train(model, 1)
    assert backend.graphs == compiled  # and training goes on with what was compiled


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("micro", [1, 3])
@pytest.mark.parametrize("symmetric", [False, True])
def test_five_steps_of_graphs_are_the_plain_steps(symmetric, micro):
    from torch._dynamo.utils import counters

    counters.clear()
    plain = build(symmetric=symmetric).cuda()
    options = dict(mode="reduce-overhead", dynamic=False)
    fast = build(symmetric=symmetric, compile_encoders=options).cuda()
    start = copy.deepcopy(learned(plain))
    kept = []
    for model in (plain, fast):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        found = []
        for step in range(5):
            found += micro_batches(model, optimizer, micro, micro * step, "cuda")
            with torch.no_grad():  # of another size, and kept to the end
                found.append(model.extract_feat(views(5, step)[0].cuda())[-1])
        kept.append(found)
    assert counters["inductor"]["cudagraph_recorded_non_static_inputs"] > 0
    assert counters["inductor"]["cudagraph_skips"] == 0
    for expected, got in zip(*kept, strict=True):
        assert torch.allclose(got, expected, rtol=1e-6, atol=1e-9)
    for name, value in learned(plain).items():
        assert torch.allclose(learned(fast)[name], value, rtol=0, atol=1e-7), name
    assert any(not torch.equal(value, start[name]) for name, value in learned(fast).items())
