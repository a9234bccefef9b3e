# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The terms have the values of their definitions: by hand, and against slow loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests import reference
from xmoco_plugin.losses import cross_consistency, info_nce, uniform_similarity
from xmoco_plugin.losses.cross_consistency import COMBINATIONS

Q = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]
K = [[0.8, 0.6], [1.0, 0.0], [0.0, 1.0]]
QUEUE = [[0.6, -0.8], [-1.0, 0.0], [0.0, 1.0], [0.8, 0.6]]
OPTIONS = [(*key, d) for key, divergences in COMBINATIONS.items() for d in divergences]

REFERENCE_VALUES = [
    (cross_consistency, ("batch", "transpose", "mse"), 0.41386666666666666),
    (cross_consistency, ("batch", "transpose", "sym_kl"), 2.4376965614343593),
    (cross_consistency, ("batch", "momentum", "mse"), 0.32160000000000000),
    (cross_consistency, ("queue", "momentum", "mse"), 0.46666666666666673),
    (cross_consistency, ("queue", "momentum", "sym_kl"), 1.6102285895947095),
    (cross_consistency, ("queue", "momentum", "kl"), 1.4817445653113621),
    (uniform_similarity, ("batch", "forward"), 0.86905980945944310),
    (uniform_similarity, ("batch", "reverse"), 0.42187285204504470),
    (uniform_similarity, ("queue", "forward"), 2.6245013602162010),
]


def options_of(function, values):
    names = {cross_consistency: ("pairs", "target", "divergence")}
    return dict(zip(names.get(function, ("negatives", "direction")), values, strict=True))


def small():
    q, k = torch.tensor(Q, dtype=torch.float64), torch.tensor(K, dtype=torch.float64)
    return q, k, torch.tensor(QUEUE, dtype=torch.float64).T


def drawn(n=5, dim=4, length=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda rows: F.normalize(  # noqa: E731
        torch.randn(rows, dim, generator=generator, dtype=torch.float64), dim=1
    )
    return draw(n), draw(n), draw(length).T


def test_info_nce_has_the_reference_value():
    assert abs(info_nce(*small(), 0.2).item() - 2.4836726672597877) < 1e-9


@pytest.mark.parametrize(("function", "values", "expected"), REFERENCE_VALUES)
def test_term_has_the_reference_value(function, values, expected):
    value = function(*small(), **options_of(function, values), temperature=0.2)
    assert abs(value.item() - expected) < 1e-9


def test_info_nce_equals_the_slow_reference():
    q, k, queue = drawn()
    expected = reference.info_nce(q.tolist(), k.tolist(), queue.T.tolist(), 0.07)
    assert info_nce(q, k, queue, 0.07).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("pairs", "target", "divergence"), OPTIONS)
def test_consistency_equals_the_slow_reference(pairs, target, divergence):
    q, k, queue = drawn()
    expected = reference.consistency(
        q.tolist(), k.tolist(), queue.T.tolist(), pairs, target, divergence, 0.3
    )
    value = cross_consistency(
        q, k, queue, pairs=pairs, target=target, divergence=divergence, temperature=0.3
    )
    assert value.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("negatives", ["batch", "queue"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_uniformity_equals_the_slow_reference(negatives, direction):
    q, k, queue = drawn()
    expected = reference.uniformity(
        q.tolist(), k.tolist(), queue.T.tolist(), negatives, direction, 0.3
    )
    value = uniform_similarity(
        q, k, queue, negatives=negatives, direction=direction, temperature=0.3
    )
    assert value.item() == pytest.approx(expected, rel=1e-12)


def test_consistency_ignores_how_similar_an_image_is_to_itself():
    q, k, _ = drawn()
    # Equal off-diagonal similarities, positives of any size: nothing to punish.
    assert cross_consistency(q, q.clone()).item() == pytest.approx(0.0, abs=1e-15)
    assert cross_consistency(q, k).item() > 0.01


def test_two_images_have_one_pair_whose_distribution_is_certain():
    q, k, _ = drawn(n=2)
    difference = (q[0] @ k[1] - q[1] @ k[0]).item()
    assert cross_consistency(q, k).item() == pytest.approx(difference**2)
    assert cross_consistency(q, k, divergence="sym_kl").item() == pytest.approx(0.0, abs=1e-15)
    assert uniform_similarity(q, k).item() == pytest.approx(0.0, abs=1e-15)


def test_uniformity_of_equal_similarities_is_zero_and_reverse_is_at_most_log_m():
    q = torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64)
    level = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64).T
    peaked = torch.tensor([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]], dtype=torch.float64).T
    k = q.clone()
    assert uniform_similarity(q, k, level, negatives="queue").item() == pytest.approx(0, abs=1e-15)
    reverse = uniform_similarity(
        q, k, peaked, negatives="queue", direction="reverse", temperature=0.01
    )
    assert reverse.item() == pytest.approx(math.log(2))


def test_uninformed_info_nce_is_log_of_one_plus_k():
    q = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    orthogonal = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    value = info_nce(q, orthogonal, orthogonal.T.repeat(1, 9), 0.2)
    assert value.item() == pytest.approx(math.log(10))


def test_an_empty_queue_has_no_pairs_and_every_queue_term_is_zero():
    q, k, queue = drawn()
    empty = queue[:, :0]
    assert info_nce(q, k, empty, 0.2).item() == 0
    assert cross_consistency(q, k, empty, pairs="queue", target="momentum").item() == 0
    assert uniform_similarity(q, k, empty, negatives="queue").item() == 0
