# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A student against a frozen teacher: who learns, what is drawn, what a checkpoint holds."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import nn

from tests import models  # noqa: F401  (registers TinyEncoder)
from tests.multiprocess import run_processes
from xmoco_plugin.algorithms.places import student_places
from xmoco_plugin.export import find_backbone
from xmoco_plugin.losses import teacher_dense, teacher_relation
from xmoco_plugin.precision import unit_norm
from xmoco_plugin.teachers import KeyBank

DIM, KEYS, IMAGES = 8, 12, 30


def build(seed: int = 0, norm: bool = False, **options) -> nn.Module:
    """A tiny student in float64."""
    torch.manual_seed(seed)
    neck = dict(type="MoCoV2Neck", in_channels=16, hid_channels=12, out_channels=DIM)
    settings = dict(
        type="TeacherContrast",
        backbone=dict(type="TinyEncoder", norm=norm),
        neck=neck,
        head=dict(type="TeacherHead", consistency=dict(), cosine=dict()),
        feat_dim=DIM,
        num_keys=KEYS,
    )
    return MODELS.build(settings | options).double().train()


def bank(seed: int = 1) -> KeyBank:
    generator = torch.Generator().manual_seed(seed)
    return KeyBank(F.normalize(torch.randn(IMAGES, DIM, generator=generator).double(), dim=1))


def batch(n: int = 4, first: int = 0, seed: int = 0):
    """One view of n images (n, 3, 6, 6), and their samples."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(first + n, 3, 6, 6, generator=generator, dtype=torch.float64)[first:]
    return [images], [SimpleNamespace(sample_idx=first + i) for i in range(n)]


def teacher() -> nn.Module:
    """(n, 3, 6, 6) -> keys (n, DIM), of a network with BatchNorm."""
    torch.manual_seed(5)
    return nn.Sequential(
        nn.Conv2d(3, DIM, 3), nn.BatchNorm2d(DIM), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).double()


def test_the_loss_is_the_terms_of_the_own_and_of_the_drawn_keys():
    model = build(head=dict(type="TeacherHead"))
    model.bank = bank()
    drawn = []
    draw = model.bank.draw
    model.bank.draw = lambda *args: drawn.append(draw(*args)) or drawn[-1]
    images, samples = batch()
    q = unit_norm(model.neck(model.backbone(images[0]))[0])
    found = model.loss(images, samples)
    assert drawn[0].shape == (DIM, KEYS)
    expected = teacher_relation(q, model.bank.keys[:4], drawn[0])
    torch.testing.assert_close(found["loss_relation"], expected)
    assert found.keys() == {"loss_relation"}


def test_each_step_compares_with_other_keys_and_a_resumed_run_with_the_same():
    images, samples = batch()
    first = build()
    first.bank = bank()
    losses = [sum(first.loss(images, samples).values()).item() for _ in range(3)]
    assert len(set(losses)) == 3  # the weights have not moved
    again = build()
    again.bank = bank()
    again.loss(images, samples)
    resumed = build(seed=9)
    resumed.bank = bank()
    resumed.load_state_dict(copy.deepcopy(again.state_dict()))
    torch.manual_seed(0)  # as a run that resumes is seeded anew
    assert sum(resumed.loss(images, samples).values()).item() == losses[1]


def test_keys_of_the_whole_set_are_compared_with_where_it_is_small():
    model = build(num_keys=1000)
    model.bank = bank()
    keys = model.bank.draw(1000, 0, torch.device("cpu"))
    assert torch.equal(keys, model.bank.keys.T)
    model.loss(*batch())


def test_the_student_learns_and_the_teacher_is_neither_moved_nor_saved():
    network = teacher().eval()
    before = copy.deepcopy(network.state_dict())
    model = build(own_crop=True)
    model.ask = lambda view: unit_norm(network(view))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    images, samples = batch(8)
    totals = []
    for _ in range(20):
        loss = sum(model.loss(images, samples).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < totals[1]  # the first has no other keys yet
    assert all(p.grad is None for p in network.parameters())
    assert all(p.grad is not None for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert {key.split(".")[0] for key in model.state_dict()} == {
        "backbone",
        "neck",
        "seen",
        "queue",
    }


def test_keys_of_the_students_crops_go_through_a_queue_in_order():
    network = teacher().eval()
    model = build(own_crop=True)
    model.ask = lambda view: unit_norm(network(view))
    seen, compared = [], []
    loss = model.head.loss
    model.head.loss = lambda q, k, keys: (seen.append(k), compared.append(keys), loss(q, k, keys))[
        2
    ]
    for step in range(5):
        model.loss(*batch(4, first=4 * step))
    assert [keys.shape[1] for keys in compared] == [0, 4, 8, 12, 12]
    newest = torch.cat(seen[1:4]).T  # the first four were replaced by the fourth step
    order = lambda keys: keys[:, keys[0].argsort()]  # noqa: E731
    torch.testing.assert_close(order(compared[4]), order(newest))


DENSE_NECK = dict(type="DenseCLNeck", in_channels=16, hid_channels=12, out_channels=DIM)


@pytest.mark.parametrize("match", ["cosine", "relation"])
def test_places_of_the_crop_that_both_have_seen_are_compared(match):
    model = build(
        own_crop=True,
        neck=DENSE_NECK if match == "cosine" else None,
        head=dict(type="TeacherHead", relation=None, dense=dict(match=match)),
    )
    asked = []

    def ask(view, places=False):
        asked.append(view)
        maps = F.normalize(teacher()[0](view), dim=1)  # (n, DIM, 4, 4)
        return unit_norm(maps.mean(dim=(2, 3))), maps

    model.ask = ask
    (view,), samples = batch()
    maps = model.backbone(view)
    mine = maps[-1] if match == "relation" else model.neck(maps)[1].unflatten(2, (6, 6))
    found = model.loss([view], samples)
    assert found.keys() == {"loss_dense"}
    torch.testing.assert_close(found["loss_dense"], teacher_dense(mine, ask(view)[1], match))
    assert asked[0] is view
    found["loss_dense"].backward()
    assert model.backbone.conv.weight.grad.abs().sum() > 0
    # DistributedDataParallel waits for the gradient of each parameter.
    assert all(p.grad is not None for p in model.parameters())


def test_a_neck_that_no_term_uses_is_refused():
    head = dict(type="TeacherHead", relation=None, dense=dict(match="relation"))
    with pytest.raises(ValueError, match="nothing would train the neck: set it to None"):
        build(own_crop=True, head=head)
    also = head | dict(consistency=dict())
    assert build(own_crop=True, neck=DENSE_NECK, head=also).wants_places


def test_a_neck_that_pools_its_places_to_a_grid_keeps_them_in_order():
    maps = torch.arange(2 * 3 * 16.0).view(2, 3, 4, 4)
    pooled = F.adaptive_avg_pool2d(maps, 2)
    assert torch.equal(student_places((maps,), [None, pooled.flatten(2)]), pooled)


def test_dense_is_refused_where_there_are_no_places():
    dense = dict(type="TeacherHead", dense=dict())
    with pytest.raises(ValueError, match=r"set model.own_crop=True and TeacherHook"):
        build(head=dense, neck=DENSE_NECK)
    model = build(own_crop=True, head=dense)
    model.ask = lambda view, places=False: (torch.ones(4, DIM), torch.ones(4, DIM, 2, 2))
    with pytest.raises(ValueError, match="DenseCLNeck', or match='relation'"):
        model.loss(*batch())
    with pytest.raises(ValueError, match=r"gives \(4, 16\): take another backbone"):
        student_places((torch.ones(4, 16),))
    plain = MODELS.build(dense)
    with pytest.raises(ValueError, match="gave TeacherHead none"):
        plain.loss(torch.ones(2, 3), torch.ones(2, 3), torch.ones(3, 4))


def test_exports_take_the_backbone():
    student = build()
    state = student.state_dict()
    found = find_backbone({"state_dict": state}, like=student.backbone.state_dict())
    assert found.layout == "mmpretrain"
    assert {f"backbone.{key}" for key in found.state} == {k for k in state if "backbone" in k}


def test_what_is_missing_is_named():
    images, samples = batch()
    with pytest.raises(RuntimeError, match=r"got no stored features.*TeacherHook"):
        build().loss(images, samples)
    with pytest.raises(RuntimeError, match="got no teacher"):
        build(own_crop=True).loss(images, samples)
    model = build()
    model.bank = bank()
    with pytest.raises(ValueError, match="sample_idx"):
        model.loss(images, [SimpleNamespace() for _ in samples])
    with pytest.raises(ValueError, match="of 30 images: they belong to another set"):
        model.loss(images, [SimpleNamespace(sample_idx=27 + i) for i in range(4)])
    with pytest.raises(ValueError, match="relation, consistency, cosine"):
        build(head=dict(type="TeacherHead", relation=None))


def gradients(rank: int, size: int) -> list:
    """Of a second step, with stored keys and with a teacher that is asked; whose queue is full."""
    share, found = 8 // size, []
    for own_crop in (False, True):
        model = build(own_crop=own_crop)
        model.bank = bank()
        network = teacher().eval()
        model.ask = lambda view, network=network: unit_norm(network(view))
        for step in range(2):
            losses = model.loss(*batch(share, first=8 * step + rank * share))
        sum(losses.values()).backward()
        found += [torch.stack([v.detach() for v in losses.values()]), next(model.parameters()).grad]
    return found


def test_two_processes_have_the_losses_and_gradients_of_one():
    (whole,), halves = [gradients(0, 1)], run_processes(gradients, 2)
    for one, two in zip(whole, zip(*halves, strict=True), strict=True):
        torch.testing.assert_close(sum(two) / 2, one, rtol=1e-6, atol=1e-9)


def test_channels_last_lays_the_weights_otherwise_and_changes_no_loss():
    losses = []
    for last in (False, True):
        model = build(channels_last=last)
        model.bank = bank()
        kernels = [p for p in model.backbone.parameters() if p.ndim == 4 and p.shape[1] > 1]
        laid = {p.is_contiguous(memory_format=torch.channels_last) for p in kernels}
        assert laid == {last}
        losses.append(sum(model.loss(*batch()).values()))
    torch.testing.assert_close(*losses)
