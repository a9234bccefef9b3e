# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The dense term against a frozen teacher: values by hand and from plain loops, gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from tests.reference import dot
from xmoco_plugin.losses import TeacherDenseLoss, teacher_dense


def maps(n=2, dim=4, width=None, size=(3, 2), theirs=None, seed=0):
    """Of student (n, dim, h, w) and teacher (n, width or dim, H, W), float64."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return draw(n, dim, *size), draw(n, width or dim, *(theirs or size))


def vectors(x, i):
    """The unit-norm vectors of the places of image i, row by row, as lists."""
    return [F.normalize(v, dim=0).tolist() for v in x[i].flatten(1).T]


def test_cosine_of_two_places_by_hand():
    q = torch.tensor([[[[3.0, 0.0]], [[4.0, 2.0]]]])  # (0.6, 0.8), (0, 1)
    k = torch.tensor([[[[1.0, 0.0]], [[0.0, 5.0]]]])  # (1, 0), (0, 1)
    assert teacher_dense(q, k).item() == pytest.approx((0.4 + 0.0) / 2)


def test_relation_of_two_places_by_hand_whatever_the_widths():
    q = torch.tensor([[[[3.0, 0.0]], [[4.0, 2.0]]]])  # cosine of the two places: 0.8
    k = torch.tensor([[[[1.0, 0.0]], [[0.0, 5.0]], [[0.0, 0.0]]]])  # 0
    assert teacher_dense(q, k, "relation").item() == pytest.approx(0.64)


@pytest.mark.parametrize("match", ["cosine", "relation"])
def test_it_is_that_of_plain_loops(match):
    q, k = maps(width=4 if match == "cosine" else 7)
    values = []
    for i in range(2):
        mine, theirs = vectors(q, i), vectors(k, i)
        if match == "cosine":
            values += [1 - dot(a, b) for a, b in zip(mine, theirs, strict=True)]
            continue
        for p in range(6):
            for r in range(6):
                if p != r:
                    values.append((dot(mine[p], mine[r]) - dot(theirs[p], theirs[r])) ** 2)
    found = teacher_dense(q, k, match).item()
    assert found == pytest.approx(sum(values) / len(values), rel=1e-9)


def test_a_larger_map_of_the_teacher_is_brought_to_the_students_places():
    q = torch.zeros(1, 2, 2, 2)
    q[0, 0, :, 0] = q[0, 1, :, 1] = 1.0  # left (1, 0), right (0, 1)
    k = q.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    assert teacher_dense(q, k).item() < 0.02  # the filter reaches a little over the middle
    assert teacher_dense(q, k.flip(3)).item() > 0.8
    assert teacher_dense(q, k[..., ::4, ::4]).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("match", ["cosine", "relation"])
def test_gradient_is_that_of_finite_differences_and_the_teachers_is_none(match):
    q, k = maps(theirs=(2, 2))
    q.requires_grad_()
    k.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: teacher_dense(x, k, match), q)
    teacher_dense(q, k, match).backward()
    assert k.grad is None


@pytest.mark.parametrize("match", ["cosine", "relation"])
def test_twenty_steps_of_descent_lower_it_and_autocast_changes_nothing(match):
    term = TeacherDenseLoss(match, loss_weight=2.0)
    q, k = (x.float() for x in maps(seed=3))
    first = term(q, k)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(term(q, k), first)
    x = q.clone().requires_grad_()
    for _ in range(20):
        loss = term(x, k)
        (grad,) = torch.autograd.grad(loss, x)
        x = (x - grad).detach().requires_grad_()
    assert loss.item() < 0.95 * first.item()
    assert first.item() == pytest.approx(2 * teacher_dense(q, k, match).item())
    assert TeacherDenseLoss(match, 0.0)(q, k).item() == 0


def test_what_does_not_fit_is_refused_with_the_way_out():
    q, k = maps(width=7)
    with pytest.raises(ValueError, match=r"4 numbers, the teacher's have 7: set neck.out_channels"):
        teacher_dense(q, k)
    with pytest.raises(ValueError, match="has one: use larger views"):
        teacher_dense(q[..., :1, :1], k, "relation")
    with pytest.raises(ValueError, match=r"\(2, 4, 3, 2\) and \(1, 7, 3, 2\)"):
        teacher_dense(q, k[:1], "relation")
    with pytest.raises(ValueError, match="cosine, relation, got 'mse'"):
        TeacherDenseLoss("mse")
    with pytest.raises(ValueError, match="must not be negative, got nan"):
        TeacherDenseLoss(loss_weight=math.nan)
