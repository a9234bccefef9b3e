# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The terms against a frozen teacher: values by hand and from plain loops, gradients, errors."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.reference import dot, kl, softmax
from xmoco_plugin.losses import (
    TeacherConsistencyLoss,
    TeacherCosineLoss,
    TeacherRelationLoss,
    teacher_consistency,
    teacher_cosine,
    teacher_relation,
)


def drawn(n=6, dim=5, keys=40, width=None, seed=0):
    """q (n, dim), k (n, width or dim), keys (width or dim, keys), float64, unit norm."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    width = width or dim
    return tuple(F.normalize(t, dim=d) for t, d in ((draw(n, dim), 1), (draw(n, width), 1))) + (
        F.normalize(draw(width, keys), dim=0),
    )


TERMS = [
    TeacherRelationLoss(),
    TeacherRelationLoss(chunk_size=7),
    TeacherConsistencyLoss(),
    TeacherConsistencyLoss("kl"),
    TeacherCosineLoss(),
]
NAMES = ["relation", "relation-chunks", "consistency-mse", "consistency-kl", "cosine"]
each = pytest.mark.parametrize("term", TERMS, ids=NAMES)


def test_relation_of_two_images_by_hand():
    # The teacher sees its own key at cosine 1 and the other at 0, the student at 0 and 1; with
    # temperatures 1 and 1 both are (e, 1) / (e + 1), swapped.
    q, k = torch.tensor([[0.0, 1.0]]).double(), torch.tensor([[1.0, 0.0]]).double()
    keys = torch.tensor([[0.0], [1.0]]).double()
    p = math.e / (math.e + 1)
    expected = p * math.log(p / (1 - p)) + (1 - p) * math.log((1 - p) / p)
    assert teacher_relation(q, k, keys, 1.0, 1.0).item() == pytest.approx(expected, rel=1e-12)
    assert expected == pytest.approx((math.e - 1) / (math.e + 1), rel=1e-12)


def test_relation_is_the_mean_kl_over_the_own_key_and_the_others():
    q, k, keys = drawn()
    total = 0.0
    for qi, ki in zip(q.tolist(), k.tolist(), strict=True):
        others = keys.T.tolist()
        student = softmax([dot(qi, m) for m in [ki, *others]], 0.1)
        teacher = softmax([dot(ki, m) for m in [ki, *others]], 0.05)
        total += kl(teacher, student)
    for chunk in (None, 7):
        found = teacher_relation(q, k, keys, 0.1, 0.05, chunk)
        assert found.item() == pytest.approx(total / len(q), rel=1e-9)


def test_relation_in_chunks_has_the_gradient_of_the_plain_form():
    q, k, keys = drawn()
    grads = []
    for chunk in (None, 7):
        x = q.clone().requires_grad_()
        teacher_relation(x, k, keys, chunk_size=chunk).backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads, rtol=1e-9, atol=1e-12)


def test_relation_is_zero_for_a_student_that_agrees():
    _, k, keys = drawn()
    assert teacher_relation(k, k, keys, 0.05, 0.05).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("divergence", ["mse", "kl"])
def test_consistency_is_that_of_plain_loops_whatever_the_widths(divergence):
    q, k, _ = drawn(width=9)
    values = []
    for i in range(len(q)):
        others = [j for j in range(len(q)) if j != i]
        student = [dot(q[i].tolist(), q[j].tolist()) for j in others]
        teacher = [dot(k[i].tolist(), k[j].tolist()) for j in others]
        if divergence == "mse":
            squares = [(s - t) ** 2 for s, t in zip(student, teacher, strict=True)]
            values.append(sum(squares) / len(others))
        else:
            values.append(kl(softmax(teacher, 0.05), softmax(student, 0.1)))
    found = teacher_consistency(q, k, divergence).item()
    assert found == pytest.approx(sum(values) / len(values), rel=1e-9)


def test_cosine_by_hand():
    q = torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    k = torch.tensor([[0.0, 1.0], [0.6, 0.8]])
    assert teacher_cosine(q, k).item() == pytest.approx(0.5)


@each
def test_gradient_reaches_the_student_and_nothing_of_the_teacher(term):
    q, k, keys = (t.requires_grad_() for t in drawn())
    before = [t.detach().clone() for t in (q, k, keys)]
    term(q, k, keys).backward()
    assert q.grad.abs().sum() > 1e-3
    assert k.grad is None
    assert keys.grad is None
    assert all(torch.equal(a, b.detach()) for a, b in zip(before, (q, k, keys), strict=True))


@each
def test_gradient_is_that_of_finite_differences(term):
    q, k, keys = drawn(n=4)
    assert torch.autograd.gradcheck(lambda x: term(x, k, keys), q.clone().requires_grad_())


@each
def test_twenty_steps_of_descent_lower_it(term):
    q, k, keys = drawn(seed=3)
    x = q.clone().requires_grad_()
    first = term(F.normalize(x, dim=1), k, keys).item()
    for _ in range(20):
        loss = term(F.normalize(x, dim=1), k, keys)
        (grad,) = torch.autograd.grad(loss, x)
        x = (x - 0.05 * grad).detach().requires_grad_()
    assert loss.item() < 0.95 * first


@each
def test_it_is_computed_in_float32_under_autocast(term):
    q, k, keys = (t.float() for t in drawn())
    with torch.autocast("cpu", torch.bfloat16):
        found = term(q, k, keys)
    assert found.dtype == torch.float32
    assert torch.equal(found, term(q, k, keys))


def test_a_weight_of_zero_is_zero_and_weights_multiply():
    q, k, keys = drawn()
    assert TeacherCosineLoss(0.0)(q, k, keys).item() == 0
    double = TeacherRelationLoss(loss_weight=2.0)(q, k, keys)
    assert double.item() == pytest.approx(2 * teacher_relation(q, k, keys).item())


def test_what_does_not_fit_is_refused_with_the_shapes():
    q, k, keys = drawn(width=9)
    with pytest.raises(ValueError, match=r"\(6, 5\) and \(6, 9\)"):
        teacher_relation(q, k, keys)
    with pytest.raises(ValueError, match=r"got \(9, 40\)"):
        teacher_relation(q, q, keys)
    with pytest.raises(ValueError, match="at least 2 images"):
        teacher_consistency(q[:1], k[:1])
    with pytest.raises(ValueError, match="mse, kl"):
        TeacherConsistencyLoss("l1")
    with pytest.raises(ValueError, match="teacher_temperature must be positive"):
        TeacherRelationLoss(teacher_temperature=0)
