# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from xmoco_plugin.evaluation import diagnostics as d

from .. import reference

TAU = 0.2
# The reference batch of docs/method.md's terms (tests/losses).
Q = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]
K = [[0.8, 0.6], [1.0, 0.0], [0.0, 1.0]]
QUEUE = [[0.6, -0.8], [-1.0, 0.0], [0.0, 1.0], [0.8, 0.6]]  # columns


def rows(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sphere(n: int, dims: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, dims, generator=generator, dtype=torch.float64), dim=1)


def test_info_nce_is_that_of_the_terms():
    q, k, queue = rows(Q), rows(K), rows(QUEUE)
    value = d.info_nce_of((q * k).sum(dim=1), q @ queue.T, TAU)
    assert float(value) == pytest.approx(2.4836726672597877, abs=1e-12)
    assert float(value) == pytest.approx(reference.info_nce(Q, K, QUEUE, TAU), abs=1e-12)


@pytest.mark.parametrize("negatives", [1, 1024, 65536])
def test_equal_similarities_give_the_uninformed_value(negatives):
    value = d.info_nce_of(torch.full((2,), 0.3), torch.full((2, negatives), 0.3), TAU)
    assert float(value) == pytest.approx(d.uninformed_nce(negatives), abs=1e-5)
    assert d.uninformed_nce(negatives) == math.log(1 + negatives)


def test_entropy_of_the_negatives_is_the_slow_one_and_1_where_all_are_alike():
    expected = 0.0
    for q in Q:
        p = reference.softmax([reference.dot(q, m) for m in QUEUE], TAU)
        expected -= sum(x * math.log(x) for x in p) / math.log(4) / 3
    assert float(d.negative_entropy(rows(Q) @ rows(QUEUE).T, TAU)) == pytest.approx(expected)
    assert float(d.negative_entropy(torch.zeros(3, 7), TAU)) == pytest.approx(1.0)
    assert float(d.negative_entropy(torch.eye(3), 1e-3)) == pytest.approx(0.0, abs=1e-6)


def test_dimension_std_of_a_spread_batch_is_1_over_sqrt_d_and_of_a_collapsed_one_0():
    # Both axes, both ends: mean 0, mean square 1/2 in each of the two dimensions.
    spread = rows([[1, 0], [-1, 0], [0, 1], [0, -1]])
    assert float(d.dimension_std(spread)) == pytest.approx(1 / math.sqrt(2), abs=1e-12)
    assert float(d.dimension_std(sphere(4000, 16))) == pytest.approx(1 / 4, rel=0.01)
    assert float(d.dimension_std(rows([[0.6, 0.8]] * 5))) == pytest.approx(0, abs=1e-12)


def test_dimension_std_is_bounded_by_the_mean_similarity_as_its_docstring_says():
    z = F.normalize(sphere(200, 16) + 0.5, dim=1)
    mean_cosine = float((z @ z.T).mean())
    assert float(d.dimension_std(z)) ** 2 <= (1 - mean_cosine) / 16


@pytest.mark.parametrize(("n", "dims"), [(50, 8), (8, 50)])
def test_effective_rank_is_rankme_by_singular_values(n, dims):
    z = np.random.default_rng(0).normal(size=(n, dims)) @ np.diag(0.7 ** np.arange(dims))
    p = np.linalg.svd(z, compute_uv=False)
    p /= p.sum()
    assert float(d.effective_rank(torch.tensor(z))) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


def test_effective_rank_counts_orthogonal_directions():
    assert float(d.effective_rank(torch.eye(5))) == pytest.approx(5)
    assert float(d.effective_rank(rows([[0.6, 0.8]] * 5))) == pytest.approx(1)
    assert float(d.effective_rank(rows([[1, 0], [-1, 0]]))) == pytest.approx(1)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_effective_rank_of_what_is_not_finite_is_nan(broken):
    z = torch.eye(5)
    z[2, 1] = broken
    assert math.isnan(float(d.effective_rank(z)))


def test_alignment_is_two_minus_two_cosines():
    # Cosines 0.8, 0 and 0.8.
    assert float(d.alignment(rows(Q), rows(K))) == pytest.approx((0.4 + 2.0 + 0.4) / 3)


def test_hypersphere_uniformity_is_the_slow_one():
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    terms = [
        math.exp(-2 * sum((a - b) ** 2 for a, b in zip(Q[i], Q[j], strict=True))) for i, j in pairs
    ]
    assert float(d.hypersphere_uniformity(rows(Q))) == pytest.approx(math.log(sum(terms) / 6))
    assert float(d.hypersphere_uniformity(rows([[0.6, 0.8]] * 4))) == pytest.approx(0)
    # |x - y|^2 is near 2 for random vectors.
    assert float(d.hypersphere_uniformity(sphere(1000, 128))) == pytest.approx(-4, abs=0.1)


def test_asymmetry_averages_what_is_off_the_diagonal():
    s = rows([[0.9, 0.5, 0.1], [0.2, 0.8, 0.0], [0.1, 0.4, 0.7]])
    assert float(d.mean_asymmetry(s)) == pytest.approx((0.3 + 0.0 + 0.4) / 3)
    assert float(d.mean_asymmetry(s + s.T)) == 0


def test_own_columns_are_left_out_for_every_rank():
    s = torch.arange(8.0).reshape(2, 4)
    assert d.without_own(s).tolist() == [[1, 2, 3], [4, 6, 7]]
    assert d.without_own(s, first=2).tolist() == [[0, 1, 3], [4, 5, 6]]


def test_histogram_is_numpys_and_counts_rounding_beyond_1():
    values = sphere(300, 4)
    similarity = values @ values.T
    counts = d.similarity_histogram(similarity)
    expected, _ = np.histogram(similarity.clamp(-1, 1).numpy(), bins=40, range=(-1, 1))
    assert counts.dtype == torch.int64
    # A value on an edge may round to either side.
    assert np.abs(counts.numpy() - expected).sum() <= 2
    assert d.similarity_histogram(torch.tensor([1.0000002, -1.0000002])).tolist() == (
        [1] + [0] * 38 + [1]
    )


def test_histogram_of_many_values_takes_a_part_in_even_steps():
    counts = d.similarity_histogram(torch.linspace(-1, 1, 4000), limit=400)
    assert int(counts.sum()) == 400
    assert counts.tolist() == pytest.approx([10] * 40, abs=1)


def test_pixel_match_is_1_for_equal_views_and_chance_for_unrelated_ones():
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(400, 3, 16, 16, generator=generator)
    others = d.pixel_thumbnails(torch.rand(400, 3, 16, 16, generator=generator))
    thumbnails = d.pixel_thumbnails(images)
    assert thumbnails.shape == (400, 3, 8, 8)
    assert float(d.pixel_match(thumbnails, 0.5 * thumbnails + 0.2)) == 1
    assert float(d.pixel_match(thumbnails, others)) < 0.02
    half = torch.cat([thumbnails[:200], others[200:]])
    assert float(d.pixel_match(thumbnails, half)) == pytest.approx(0.5, abs=0.02)


def test_relative_distance_takes_all_parameters_as_one_vector():
    key = [torch.tensor([3.0, 1.0]), torch.tensor([[2.0]])]
    query = [torch.tensor([3.0, 4.0]), torch.tensor([[6.0]])]
    assert float(d.relative_distance(key, query)) == pytest.approx(5 / math.sqrt(61))


def test_nothing_that_is_given_is_changed():
    z, s = sphere(6, 4), sphere(6, 4) @ sphere(6, 4, 1).T
    kept = z.clone(), s.clone()
    d.hypersphere_uniformity(z)
    d.effective_rank(z)
    d.dimension_std(z)
    d.mean_asymmetry(s)
    d.negative_entropy(s, TAU)
    d.info_nce_of(s[:, 0], s, TAU)
    d.similarity_histogram(s)
    assert torch.equal(z, kept[0])
    assert torch.equal(s, kept[1])
