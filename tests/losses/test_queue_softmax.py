# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The queue in chunks: the value and the gradient of the plain form, without its matrix."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from tests.losses.test_values import drawn
from xmoco_plugin.heads import XMoCoHead
from xmoco_plugin.losses import CrossConsistencyLoss, UniformSimilarityLoss, info_nce
from xmoco_plugin.losses.queue_softmax import CHUNK_SIZE, QueuePass, queue_softmax

CONSISTENCY = dict(pairs="queue", target="momentum", loss_weight=1.0)
TERMS = {
    "info_nce": lambda size: lambda q, k, queue: info_nce(q, k, queue, 0.2, size),
    **{
        f"consistency-{kind}": lambda size, kind=kind: CrossConsistencyLoss(
            divergence=kind, chunk_size=size, **CONSISTENCY
        )
        for kind in ("mse", "kl", "sym_kl")
    },
    "consistency-kl-positive": lambda size: CrossConsistencyLoss(
        divergence="kl", positive=True, teacher_temperature=0.05, chunk_size=size, **CONSISTENCY
    ),
    "simplex": lambda size: UniformSimilarityLoss(
        "queue", target="simplex", loss_weight=1.0, chunk_size=size
    ),
    **{
        f"uniformity-{way}": lambda size, way=way: UniformSimilarityLoss(
            "queue", way, loss_weight=1.0, chunk_size=size
        )
        for way in ("forward", "reverse")
    },
}


def value_and_gradient(term, q, k, queue):
    q = q.clone().requires_grad_()
    value = term(q, k, queue)
    value.backward()
    return value.detach(), q.grad


@pytest.fixture(params=list(TERMS))
def term(request):
    return TERMS[request.param]


@pytest.mark.parametrize("size", [1, 7, 50, 99, 100])
def test_it_is_the_plain_form_in_value_and_gradient(term, size):
    inputs = drawn(n=6, dim=8, length=100)
    value, gradient = value_and_gradient(term(size), *inputs)
    expected, expected_gradient = value_and_gradient(term(None), *inputs)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(gradient, expected_gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("temperature", [0.07, 0.2])
def test_in_float32_it_is_equal_to_one_in_a_million(temperature):
    q, k, queue = (t.float() for t in drawn(n=32, dim=128, length=20000))
    value, gradient = value_and_gradient(
        lambda *x: info_nce(*x, temperature, chunk_size=4096), q, k, queue
    )
    expected, plain = value_and_gradient(
        lambda *x: info_nce(*x, temperature, chunk_size=None), q, k, queue
    )
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)
    assert (gradient - plain).abs().max() < 1e-6


def test_other_terms_in_float32_too(term):
    q, k, queue = (t.float() for t in drawn(n=32, dim=128, length=20000))
    value, gradient = value_and_gradient(term(4096), q, k, queue)
    expected, plain = value_and_gradient(term(None), q, k, queue)
    # The one-sided KL is a difference of two logarithms of about 10.
    assert value.item() == pytest.approx(expected.item(), rel=1e-6, abs=2e-6)
    assert (gradient - plain).abs().max() < 1e-6


def test_gradients_are_those_of_finite_differences():
    q, k, queue = drawn(n=3, dim=4, length=9)
    x = q.clone().requires_grad_()
    for term in [make(4) for make in TERMS.values()]:
        assert torch.autograd.gradcheck(lambda x, term=term: term(x, k, queue), x)
    assert torch.autograd.gradcheck(lambda x: queue_softmax(x, queue, 4), x)


def test_logits_of_hundreds_neither_overflow_nor_vanish():
    q, k, queue = drawn(n=4, dim=8, length=30)
    value, gradient = value_and_gradient(lambda *x: info_nce(*x, 1e-3, 7), q, k, queue)
    expected, plain = value_and_gradient(lambda *x: info_nce(*x, 1e-3, None), q, k, queue)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(gradient, plain)


class LargestTensor(TorchDispatchMode):
    """Watches how many numbers the largest new tensor holds."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple | list) else [result]:
            if isinstance(tensor, torch.Tensor) and not any(tensor is a for a in args):
                storage = tensor.untyped_storage()
                new = all(
                    storage.data_ptr() != a.untyped_storage().data_ptr()
                    for a in args
                    if isinstance(a, torch.Tensor)
                )
                self.numbers = max(self.numbers, tensor.numel() if new else 0)
        return result


def test_nothing_larger_than_a_chunk_is_made_forwards_or_backwards(term):
    q, k, queue = drawn(n=8, dim=4, length=1000)
    with LargestTensor() as plain:
        value_and_gradient(term(None), q, k, queue)
    with LargestTensor() as chunked:
        value_and_gradient(term(20), q, k, queue)
    assert plain.numbers >= 8 * 1000
    assert chunked.numbers <= 8 * 20


def test_the_head_takes_mocos_queue_in_chunks_and_a_short_one_in_one_piece():
    q, k, queue = (
        F.normalize(t.float(), dim=d) for t, d in zip(drawn(4, 8, 9000), (1, 1, 0), strict=True)
    )
    with LargestTensor() as watch:
        XMoCoHead().loss(q, k, queue)
    assert watch.numbers == 4 * CHUNK_SIZE
    head = XMoCoHead(chunk_size=None)
    assert head.loss(q, k, queue)["loss_nce"].item() == pytest.approx(
        XMoCoHead().loss(q, k, queue)["loss_nce"].item(), rel=1e-6
    )


READS = dict(pairs="queue", target="momentum", temperature=0.1)
SHARING = {
    "kl": (dict(READS, divergence="kl", teacher_temperature=0.05), [("q", 0.1), ("k", 0.05)]),
    "sym_kl": (dict(READS, divergence="sym_kl"), [("q", 0.1), ("k", 0.1)]),
    "another temperature": (
        dict(READS, divergence="kl", temperature=0.3),
        [("q", 0.1), ("q", 0.3), ("k", 0.3)],
    ),
    "of weight 0": (dict(READS, divergence="kl", loss_weight=0.0), [("q", 0.1)]),
    "of another chunk size": (dict(READS, divergence="kl", chunk_size=30), [("q", 0.1)]),
}


@pytest.mark.parametrize("name", list(SHARING))
def test_infonce_and_the_terms_share_one_pass_with_the_values_and_gradients_of_their_own(
    name, monkeypatch
):
    consistency, wanted = SHARING[name]
    passes = []

    class Watched(QueuePass):
        def __init__(self, q, k, queue, chunk_size, wanted):
            super().__init__(q, k, queue, chunk_size, wanted)
            passes.append(list(self._made))

    monkeypatch.setattr("xmoco_plugin.heads.xmoco_head.QueuePass", Watched)
    terms = dict(
        consistency=dict(chunk_size=20) | consistency,
        uniformity=dict(negatives="queue", temperature=0.1, loss_weight=0.5, chunk_size=20),
    )
    inputs = drawn(n=6, dim=8, length=100)
    head = XMoCoHead(0.1, chunk_size=20, **terms)
    value, gradient = value_and_gradient(lambda *x: sum(head.loss(*x).values()), *inputs)
    assert passes == [wanted]
    apart = [head.consistency, head.uniformity, lambda *x: info_nce(*x, 0.1, None)]
    expected, plain = value_and_gradient(lambda *x: sum(term(*x) for term in apart), *inputs)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    assert torch.allclose(gradient, plain, rtol=1e-10, atol=1e-14)


def test_a_chunk_size_below_one_is_refused():
    with pytest.raises(ValueError, match="chunk_size must be at least 1 or None, got 0"):
        info_nce(*drawn(), 0.2, chunk_size=0)
