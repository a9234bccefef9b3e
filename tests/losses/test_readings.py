# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The readings of those who measured a gain: sharp, doubting and positive teachers, the simplex."""

import math

import pytest
import torch

from tests import reference
from tests.losses.test_values import drawn
from xmoco_plugin.losses import (
    CrossConsistencyLoss,
    UniformSimilarityLoss,
    cross_consistency,
    uniform_similarity,
)

LN3, LN4 = math.log(3), math.log(4)
# One image, q = (1, 0) and k = (0, 1), against the keys (1, 0) and (0, 1): the student's softmax
# of (1, 0) ln 3 is (3, 1) / 4, with its own key (1, 3, 1) / 5; the teacher's of (0, 1) ln 4 is
# (1, 4) / 5.
PLAIN = 0.2 * math.log(0.2 / 0.75) + 0.8 * math.log(0.8 / 0.25)
BACK = 0.75 * math.log(0.75 / 0.2) + 0.25 * math.log(0.25 / 0.8)
CERTAINTY = 1 + (0.2 * math.log(0.2) + 0.8 * math.log(0.8)) / math.log(2)
HALF = 0.5 * math.log(0.5 / 0.2) + 0.1 * math.log(0.1 / 0.6) + 0.4 * math.log(0.4 / 0.2)
BY_HAND = [
    (dict(divergence="kl"), PLAIN),
    (dict(divergence="sym_kl"), (PLAIN + BACK) / 2),
    (dict(divergence="kl", confidence=True), CERTAINTY * PLAIN),
    (dict(divergence="kl", positive=True), HALF),
    (dict(divergence="kl", positive=True, confidence=True), CERTAINTY * HALF),
    (dict(divergence="kl", positive=True, positive_share=1.0), math.log(5)),
]
OPTIONS = [
    dict(divergence="kl"),
    dict(divergence="sym_kl"),
    dict(divergence="kl", confidence=True),
    dict(divergence="sym_kl", confidence=True),
    dict(divergence="kl", positive=True, positive_share=0.3),
    dict(divergence="kl", positive=True, positive_share=0.0, confidence=True),
]
named = pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))


@pytest.mark.parametrize("chunk_size", [1, None])
@pytest.mark.parametrize(("options", "expected"), BY_HAND)
def test_a_teachers_options_have_the_values_by_hand(options, expected, chunk_size):
    q, k = torch.eye(2, dtype=torch.float64)[:, None]
    value = cross_consistency(
        q,
        k,
        torch.eye(2, dtype=torch.float64),
        pairs="queue",
        target="momentum",
        temperature=1 / LN3,
        teacher_temperature=1 / LN4,
        chunk_size=chunk_size,
        **options,
    )
    assert value.item() == pytest.approx(expected, abs=1e-12)


@named
@pytest.mark.parametrize(("pairs", "chunk"), [("batch", None), ("queue", None), ("queue", 3)])
def test_a_teachers_options_equal_the_slow_reference(options, pairs, chunk):
    q, k, queue = drawn()
    given = dict(options)
    share = given.pop("positive_share", 0.5) if given.pop("positive", False) else None
    expected = reference.relation(
        q.tolist(), k.tolist(), queue.T.tolist(), pairs, 0.3, 0.1, share=share, **given
    )
    value = cross_consistency(
        q,
        k,
        queue,
        pairs=pairs,
        target="momentum",
        temperature=0.3,
        teacher_temperature=0.1,
        chunk_size=chunk,
        **options,
    )
    assert value.item() == pytest.approx(expected, rel=1e-11)


@named
@pytest.mark.parametrize(("pairs", "chunk"), [("batch", None), ("queue", None), ("queue", 3)])
def test_the_gradient_is_that_of_finite_differences_and_the_keys_get_none(options, pairs, chunk):
    q, k, queue = drawn()
    term = CrossConsistencyLoss(
        pairs, "momentum", teacher_temperature=0.1, chunk_size=chunk, **options
    )
    assert torch.autograd.gradcheck(lambda x: term(x, k, queue), q.clone().requires_grad_())
    q, k, queue = (t.clone().requires_grad_() for t in (q, k, queue))
    term(q, k, queue).backward()
    assert q.grad.abs().sum() > 1e-3
    assert k.grad is None
    assert queue.grad is None


def test_a_teacher_that_knows_nothing_has_no_weight_and_one_pair_is_certain():
    q, k, _ = drawn(n=2)
    even = torch.tensor([[1.0, 1.0], [0, 0], [0, 0], [0, 0]], dtype=torch.float64)
    options = dict(pairs="queue", target="momentum", divergence="kl", confidence=True)
    assert cross_consistency(q, k, even, **options).item() == pytest.approx(0, abs=1e-15)
    options = dict(target="momentum", divergence="kl", positive=True)
    doubting = cross_consistency(q, k, **options, confidence=True)
    assert doubting.item() == pytest.approx(cross_consistency(q, k, **options).item())
    assert doubting.item() > 0.01


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(teacher_temperature=0.05), "teacher_temperature=0.05 means nothing.*'transpose'"),
        (dict(target="momentum", confidence=True), "confidence=True means nothing.*'sym_kl' or"),
        (
            dict(target="momentum", divergence="sym_kl", positive=True),
            "positive=True means nothing.*needs target='momentum' with divergence='kl'",
        ),
        (dict(target="momentum", divergence="kl", teacher_temperature=-1), "positive, got -1"),
        (dict(positive_share=1.5), "positive_share is a share, in .0, 1., got 1.5"),
    ],
)
def test_an_option_that_has_no_meaning_is_named_with_what_it_needs(options, message):
    with pytest.raises(ValueError, match=message):
        CrossConsistencyLoss(**options)


def test_simplex_has_the_values_by_hand():
    # Three negatives each, at cosines of 1/2, 0 and -1: mean of (5/6)^2, (1/3)^2 and (2/3)^2.
    q = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    queue = torch.tensor([[0.5, 0.0, -1.0], [0.75**0.5, 1.0, 0.0]], dtype=torch.float64)
    value = uniform_similarity(q, q, queue, negatives="queue", target="simplex")
    assert value.item() == pytest.approx((25 + 4 + 16) / 36 / 3)
    # Three points 120 degrees apart, as far from each other as can be.
    angles = torch.arange(3, dtype=torch.float64) * 2 * math.pi / 3
    corners = torch.stack([angles.cos(), angles.sin()], dim=1)
    assert uniform_similarity(corners, corners, target="simplex").item() == pytest.approx(0)


@pytest.mark.parametrize(
    ("negatives", "chunk"), [("batch", None), ("queue", None), ("queue", 3), ("queue", 1)]
)
def test_simplex_equals_the_slow_reference_in_value_and_gradient(negatives, chunk):
    q, k, queue = drawn()
    term = UniformSimilarityLoss(negatives, target="simplex", loss_weight=1.0, chunk_size=chunk)
    expected = reference.simplex(q.tolist(), k.tolist(), queue.T.tolist(), negatives)
    assert term(q, k, queue).item() == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(lambda x: term(x, k, queue), q.clone().requires_grad_())


def test_simplex_has_no_direction():
    with pytest.raises(ValueError, match=r"direction='reverse' means nothing with target='simplex"):
        UniformSimilarityLoss(direction="reverse", target="simplex")
    with pytest.raises(ValueError, match="target must be one of 'uniform', 'simplex', got 'even'"):
        UniformSimilarityLoss(target="even")
