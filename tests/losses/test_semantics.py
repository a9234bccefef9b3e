# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What holds for every term: gradients, precision, inputs, errors."""

import pytest
import torch
import torch.nn.functional as F

from tests.losses.test_values import OPTIONS, drawn
from xmoco_plugin.losses import CrossConsistencyLoss, UniformSimilarityLoss, info_nce

TERMS = [
    pytest.param(
        CrossConsistencyLoss(pairs, target, divergence, loss_weight=1.0),
        id=f"consistency-{pairs}-{target}-{divergence}",
    )
    for pairs, target, divergence in OPTIONS
] + [
    pytest.param(
        UniformSimilarityLoss(negatives, direction, loss_weight=1.0),
        id=f"uniformity-{negatives}-{direction}",
    )
    for negatives in ("batch", "queue")
    for direction in ("forward", "reverse")
]
ALL = [*TERMS, pytest.param(lambda q, k, queue: info_nce(q, k, queue, 0.2), id="info_nce")]


def with_gradient(*tensors):
    return [t.clone().requires_grad_() for t in tensors]


@pytest.mark.parametrize("term", ALL)
def test_gradient_reaches_the_queries_and_nothing_else(term):
    q, k, queue = with_gradient(*drawn())
    term(q, k, queue).backward()
    assert q.grad.abs().sum() > 1e-3
    assert k.grad is None
    assert queue.grad is None


@pytest.mark.parametrize("term", ALL)
def test_gradient_is_that_of_finite_differences(term):
    q, k, queue = drawn()
    assert torch.autograd.gradcheck(lambda x: term(x, k, queue), q.clone().requires_grad_())


def test_trained_keys_get_the_gradient_of_finite_differences():
    q, k, _ = drawn()
    for term in (CrossConsistencyLoss(), UniformSimilarityLoss()):
        term.key_gradient = True
        assert torch.autograd.gradcheck(term, tuple(with_gradient(q, k)))


def test_trained_keys_move_the_student_and_not_a_fixed_teacher():
    q, k, queue = drawn()
    n = len(q)
    term = CrossConsistencyLoss(target="momentum")
    term.key_gradient = True
    x, y = with_gradient(q, k)
    term(x, y).backward()
    # By hand: the gradient through S_ij = q_i . k_j alone.
    off_diagonal = (q @ k.T - k @ k.T).fill_diagonal_(0)
    assert torch.allclose(y.grad, 2 * off_diagonal.T @ q / (n * (n - 1)), atol=1e-12)
    term = CrossConsistencyLoss(pairs="queue", target="momentum")
    term.key_gradient = True
    x, y = with_gradient(q, k)
    term(x, y, queue).backward()
    assert y.grad is None


def test_momentum_teacher_is_fixed_and_transposed_target_is_not():
    q, k, _ = drawn()
    n = len(q)
    x = q.clone().requires_grad_()
    CrossConsistencyLoss(target="transpose")(x, k).backward()
    transposed = x.grad.clone()
    # By hand: d/dq_i of the mean over i != j of (S_ij - S_ji)^2 is 4 sum_j (S_ij - S_ji) k_j over
    # the number of pairs:
    # twice the gradient through S_ij alone.
    similarity = q @ k.T
    expected = 4 * (similarity - similarity.T) @ k / (n * (n - 1))
    assert torch.allclose(transposed, expected, atol=1e-12)

    x = q.clone().requires_grad_()
    CrossConsistencyLoss(target="momentum")(x, k).backward()
    off_diagonal = (q @ k.T - k @ k.T).fill_diagonal_(0)
    assert torch.allclose(x.grad, 2 * off_diagonal @ k / (n * (n - 1)), atol=1e-12)


@pytest.mark.parametrize("term", ALL)
def test_inputs_are_unchanged(term):
    inputs = drawn()
    before = [t.clone() for t in inputs]
    term(*inputs)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))


@pytest.mark.parametrize("term", ALL)
def test_twenty_descent_steps_lower_it(term):
    q, k, queue = drawn(n=6, dim=5, length=8)
    x = q.clone().requires_grad_()
    optimizer = torch.optim.SGD([x], lr=0.5)
    values = []
    for _ in range(21):
        value = term(F.normalize(x, dim=1), k, queue)
        values.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert values[-1] < 0.9 * values[0]


@pytest.mark.parametrize("term", ALL)
def test_float32_under_bf16_autocast(term):
    q, k, queue = (t.float() for t in drawn(n=32, dim=64, length=128))
    plain = term(q, k, queue)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = term(q, k, queue)
        half_input = term(q.bfloat16(), k.bfloat16(), queue)
    assert mixed.dtype == half_input.dtype == torch.float32
    # A bf16 matrix product would be off by about 1e-3.
    assert mixed.item() == pytest.approx(plain.item(), rel=1e-6)


@pytest.mark.parametrize("term", TERMS)
def test_weight_and_factor_scale_the_term(term):
    inputs = drawn()
    plain = term(*inputs).item()
    term.loss_weight, term.weight_factor = 3.0, 0.5
    try:
        assert term(*inputs).item() == pytest.approx(1.5 * plain)
        term.weight_factor = 0.0
        assert term(*inputs).item() == 0
    finally:
        term.loss_weight, term.weight_factor = 1.0, 1.0


@pytest.mark.parametrize(
    "term", [CrossConsistencyLoss(), UniformSimilarityLoss()], ids=["consistency", "uniformity"]
)
def test_one_image_has_no_pair_and_the_error_says_the_batch_size(term):
    q, k, queue = drawn(n=1)
    with pytest.raises(ValueError, match=r"at least 2 images, but the global batch holds 1"):
        term(q, k, queue)


@pytest.mark.parametrize(
    "options",
    [
        dict(pairs="batch", target="transpose", divergence="kl"),
        dict(pairs="queue", target="transpose", divergence="mse"),
        dict(pairs="all", target="momentum", divergence="mse"),
        dict(pairs="batch", target="momentum", divergence="js"),
    ],
)
def test_a_combination_that_does_not_exist_is_named_with_those_that_do(options):
    with pytest.raises(ValueError) as error:
        CrossConsistencyLoss(**options)
    assert repr(list(options.values())[1]) in str(error.value)
    assert "pairs='queue', target='momentum': divergence 'mse', 'sym_kl', 'kl'" in str(error.value)


@pytest.mark.parametrize("options", [dict(negatives="both"), dict(direction="backward")])
def test_an_unknown_uniformity_option_is_named(options):
    with pytest.raises(ValueError, match=f"must be one of .*{next(iter(options.values()))}"):
        UniformSimilarityLoss(**options)


@pytest.mark.parametrize("options", [dict(temperature=0.0), dict(loss_weight=-1.0)])
def test_numbers_outside_their_domain_are_refused(options):
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        CrossConsistencyLoss(**options)
    with pytest.raises(ValueError, match=str(next(iter(options.values())))):
        UniformSimilarityLoss(**options)


def test_shapes_that_do_not_fit_and_a_missing_queue_are_named():
    q, k, queue = drawn()
    with pytest.raises(ValueError, match=r"\(5, 4\) and \(4, 4\)"):
        CrossConsistencyLoss()(q, k[:4])
    with pytest.raises(ValueError, match=r"D = 4 as in q, got \(7, 4\)"):
        info_nce(q, k, queue.T, 0.2)
    with pytest.raises(ValueError, match=r"pairs='queue' .* no queue was given"):
        CrossConsistencyLoss(pairs="queue", target="momentum")(q, k)
    with pytest.raises(ValueError, match=r"negatives='queue' .* no queue was given"):
        UniformSimilarityLoss(negatives="queue")(q, k)
