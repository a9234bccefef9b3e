# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""XMoCo with a teacher beside it: XMoCo's own terms untouched, one forward pass for both."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tests.models import DIM, build
from xmoco_plugin.export import find_backbone
from xmoco_plugin.losses import teacher_relation
from xmoco_plugin.precision import unit_norm
from xmoco_plugin.teachers import KeyBank

TEACHER, KEYS, IMAGES = 6, 12, 30


def taught(**options):
    """A tiny student in float64 whose teacher has keys of ``TEACHER`` numbers."""
    neck = dict(type="MoCoV2Neck", in_channels=16, hid_channels=12, out_channels=TEACHER)
    settings = dict(
        teacher_neck=neck,
        teacher_head=dict(type="TeacherHead", cosine=dict()),
        teacher_dims=TEACHER,
        num_keys=KEYS,
    )
    model = build("TaughtXMoCo", **(settings | options))
    keys = torch.randn(IMAGES, TEACHER, generator=torch.Generator().manual_seed(1)).double()
    model.bank = KeyBank(F.normalize(keys, dim=1))
    return model


def batch(n=8, seed=0):
    """Two views of n images, and their samples."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda: torch.randn(n, 3, 6, 6, generator=generator, dtype=torch.float64)  # noqa: E731
    return [draw(), draw()], [SimpleNamespace(sample_idx=i) for i in range(n)]


@pytest.mark.parametrize("symmetric", [False, True])
def test_xmocos_terms_and_queue_are_its_own_and_the_teachers_are_those_of_the_queries(symmetric):
    views, samples = batch()
    plain = build("XMoCo", symmetric=symmetric)
    model = taught(symmetric=symmetric)
    state = plain.state_dict()
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    model.queue_ptr.copy_(plain.queue_ptr)
    calls = []
    handle = model.backbone.register_forward_hook(lambda *_: calls.append(1))
    drawn = []
    draw = model.bank.draw
    model.bank.draw = lambda *args: drawn.append(draw(*args)) or drawn[-1]
    torch.manual_seed(3)
    expected = plain.loss(views)
    torch.manual_seed(3)
    found = model.loss(views, samples)
    handle.remove()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    torch.testing.assert_close(model.queue, plain.queue)
    queries = views if symmetric else views[:1]
    assert len(calls) == len(queries)  # one forward pass serves both necks
    own, parts = model.bank.keys[:8], []
    for view in queries:
        maps = copy.deepcopy(model.backbone)(view)
        parts.append(teacher_relation(unit_norm(model.teacher_neck(maps)[0]), own, drawn[0]))
    torch.testing.assert_close(found["loss_teacher_relation"], sum(parts) / len(parts))
    assert found.keys() - expected.keys() == {"loss_teacher_relation", "loss_teacher_cosine"}


def test_both_necks_and_the_backbone_learn_and_the_weight_of_infonce_is_the_heads():
    views, samples = batch()
    head = dict(type="XMoCoHead", temperature=0.2)
    losses = {}
    for weight in (1.0, 0.25):
        model = taught(head=dict(head, nce_weight=weight))
        torch.manual_seed(0)
        losses[weight] = model.loss(views, samples)
    sum(losses[0.25].values()).backward()
    for part in (model.backbone, model.neck, model.teacher_neck):
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    torch.testing.assert_close(losses[0.25]["loss_nce"], 0.25 * losses[1.0]["loss_nce"])
    same = "loss_teacher_relation"
    torch.testing.assert_close(losses[0.25][same], losses[1.0][same])


def test_the_teachers_queue_is_not_mocos_and_a_state_keeps_both():
    views, samples = batch()
    model = taught(own_crop=True)
    model.ask = lambda view: unit_norm(view.flatten(1)[:, :TEACHER])
    assert model.queue.shape[0] == DIM
    model.loss(views, samples)
    torch.testing.assert_close(model.teacher_queue[:, :8], model.ask(views[0]).T)
    plain = model.backbone.state_dict()
    exported = find_backbone({"state_dict": model.state_dict()}, like=plain).state
    assert all(torch.equal(v, plain[k]) for k, v in exported.items())
    assert exported.keys() == plain.keys()
    again = taught(own_crop=True)
    again.load_state_dict(model.state_dict())
    assert again.keys_seen == 8


def test_terms_in_the_backbones_space_go_with_a_teacher():
    head = dict(
        type="XMoCoHead", consistency=dict(pairs="queue", target="momentum", space="backbone")
    )
    views, samples = batch()
    plain, model = build("XMoCo", head=head), taught(head=head)
    model.load_state_dict(plain.state_dict(), strict=False)
    torch.manual_seed(3)
    expected = plain.loss(views)
    torch.manual_seed(3)
    found = model.loss(views, samples)
    torch.testing.assert_close(found["loss_consistency"], expected["loss_consistency"])
