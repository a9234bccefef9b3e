# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import copy

import pytest
import torch
import torch.nn.functional as F

from tests.host_copies import HostCopies
from tests.models import DIM, QUEUE, build, views
from xmoco_plugin.losses import CrossConsistencyLoss, info_nce
from xmoco_plugin.momentum import shuffle

NO_WEIGHT = dict(
    type="XMoCoHead", consistency=dict(loss_weight=0.0), uniformity=dict(loss_weight=0.0)
)
NO_TERMS = dict(type="XMoCoHead")


def train(model, steps, first=0, n=8):
    """SGD with momentum on drawn batches; returns the total loss of each step."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    totals = []
    for i in range(first, first + steps):
        torch.manual_seed(i)
        total, _ = model.parse_losses(model.loss(views(n, seed=i), None))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(total.item())
    return totals


def learned(model):
    """What MoCo learns and keeps: parameters of both encoders, queue and its position."""
    return dict(model.named_parameters()) | {
        name: buffer for name, buffer in model.named_buffers() if name.startswith("queue")
    }


def assert_same(a, b, tolerance=1e-9):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.allclose(a[name], b[name], rtol=0, atol=tolerance), name


@pytest.mark.parametrize("head", [NO_WEIGHT, NO_TERMS], ids=["weights 0", "no terms"])
def test_without_the_terms_twenty_steps_are_mocos(head):
    moco, ours = build("MoCo"), build(head=head)
    assert_same(learned(moco), learned(ours), tolerance=0)
    start = copy.deepcopy(learned(ours))
    host_totals, totals = train(moco, 20), train(ours, 20)
    assert totals == pytest.approx(host_totals, abs=1e-9)
    assert_same(learned(moco), learned(ours))
    moved = [n for n, v in learned(ours).items() if not torch.equal(v, start[n])]
    assert len(moved) >= len(start) - 1  # all but queue_ptr: 20 batches of 8 in 24 slots


def test_with_the_terms_training_goes_another_way():
    moco, ours = build("MoCo"), build()
    assert train(moco, 3) != pytest.approx(train(ours, 3), abs=1e-3)


def test_state_dict_is_mocos_and_checkpoints_go_both_ways():
    moco, ours = build("MoCo"), build(head=NO_TERMS)
    train(moco, 5)
    assert ours.state_dict().keys() == moco.state_dict().keys()
    ours.load_state_dict(moco.state_dict())
    assert train(ours, 5, first=5) == pytest.approx(train(moco, 5, first=5), abs=1e-9)
    assert_same(learned(moco), learned(ours))

    back = build("MoCo", seed=1)
    back.load_state_dict(ours.state_dict())
    assert train(back, 5, first=10) == pytest.approx(train(ours, 5, first=10), abs=1e-9)
    assert_same(learned(back), learned(ours))


def test_current_keys_are_not_among_the_negatives():
    ours = build(head=NO_TERMS)
    ours.loss(views(8, seed=0), None)
    queue = ours.queue.clone()
    q = ours.encode_query(views(8, seed=1)[0])
    losses = ours.loss(views(8, seed=1), None)
    assert not torch.equal(ours.queue, queue)
    newest = ours.queue[:, 8:16].T
    assert torch.allclose(losses["loss_nce"], info_nce(q, newest, queue, 0.2), atol=1e-12)


def test_queue_takes_batches_of_any_size():
    ours = build()
    for n, slot in ((5, 5), (7, 12), (16, 4), (50, 6)):  # 50 is longer than the queue of 24
        ours.loss(views(n, seed=n), None)
        assert ours.queue_ptr.item() == ours.slot == slot
    assert torch.allclose(ours.queue.norm(dim=0), torch.ones(QUEUE, dtype=torch.float64))


def test_gradient_accumulation_moves_the_key_encoder_once_per_optimizer_step():
    ours = build(norm=False)
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1)
    expected = None
    for i in range(3):
        for micro in range(4):
            total, _ = ours.parse_losses(ours.loss(views(8, seed=4 * i + micro), None))
            query = [p.detach().clone() for p in ours.backbone.parameters()]
            if micro == 0:  # the average as it would be without accumulation
                expected = (
                    query
                    if expected is None
                    else [e.lerp(p, 0.01) for e, p in zip(expected, query, strict=True)]
                )
            (total / 4).backward()
            key = ours.encoder_k.module[0].parameters()
            assert all(torch.allclose(a, b, atol=1e-15) for a, b in zip(expected, key, strict=True))
        optimizer.step()
        optimizer.zero_grad()
    assert ours.encoder_k.steps == 3


def test_symmetric_averages_both_passes_and_reads_the_queue_before_their_keys_enter():
    ours = build(symmetric=True, norm=False)
    queue, (first, second) = ours.queue.clone(), views(8, seed=0)
    losses = ours.loss([first, second], None)
    q = [F.normalize(ours.neck(ours.backbone(x))[0], dim=1) for x in (first, second)]
    k = [x.detach() for x in (q[1], q[0])]  # the key encoder still equals the query encoder
    # The neck has no BatchNorm and neither has this encoder: shuffling changes nothing.
    by_hand = [info_nce(a, b, queue, 0.2) for a, b in zip(q, k, strict=True)]
    assert losses["loss_nce"].item() == pytest.approx((sum(by_hand) / 2).item(), rel=1e-12)
    by_hand = [CrossConsistencyLoss()(a, b) for a, b in zip(q, k, strict=True)]
    assert losses["loss_consistency"].item() == pytest.approx((sum(by_hand) / 2).item(), rel=1e-12)
    assert torch.allclose(ours.queue[:, :16].T, torch.cat(k), atol=1e-12)
    assert torch.equal(ours.queue[:, 16:], queue[:, 16:])
    assert ours.slot == 16


def test_unfilled_slots_are_left_out_until_keys_fill_them():
    ours = build(head=NO_TERMS, exclude_unfilled=True)
    assert ours.loss(views(8, seed=0), None)["loss_nce"].item() == 0  # nothing to compare with yet
    q = ours.encode_query(views(8, seed=1)[0])
    known = ours.queue[:, :8].clone()
    losses = ours.loss(views(8, seed=1), None)
    expected = info_nce(q, ours.queue[:, 8:16].T, known, 0.2)
    assert losses["loss_nce"].item() == pytest.approx(expected.item(), rel=1e-12)
    for seed in range(3):
        ours.loss(views(8, seed=seed), None)
    assert ours.filled == QUEUE


def test_filled_slots_are_known_after_loading():
    ours = build(exclude_unfilled=True)
    ours.loss(views(8, seed=0), None)
    resumed = build(exclude_unfilled=True, seed=1)
    resumed.load_state_dict(ours.state_dict())
    assert (resumed.filled, resumed.slot) == (8, 8)
    resumed.load_state_dict(build("MoCo").state_dict())
    assert (resumed.filled, resumed.slot) == (QUEUE, 0)


def test_no_step_after_the_first_waits_for_the_device(monkeypatch):
    # As on a GPU, where the permutation is pinned.
    monkeypatch.setattr(shuffle, "_beside", lambda i, rows: i.to(rows.device, non_blocking=True))
    ours = build()
    ours.loss(views(8, seed=0), None)
    # A tensor on 'meta' has no values: whatever asks for one (item, int, bool) raises.
    ours = ours.to("meta")
    batch = [x.to("meta") for x in views(8, seed=0)]
    with torch.no_grad(), HostCopies() as copies:
        losses = ours.loss(batch, None)
    assert losses["loss_nce"].is_meta
    assert copies.found == []
    moco = build("MoCo").to("meta")
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        moco.loss([x.to("meta") for x in views(8, seed=0)], None)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("symmetric", [False, True])
def test_no_step_after_the_first_synchronises_with_the_gpu(symmetric):
    ours = build(symmetric=symmetric).cuda()
    optimizer = torch.optim.SGD(ours.parameters(), lr=0.1)
    batches = [[x.cuda() for x in views(8, seed)] for seed in range(4)]
    try:
        for step, batch in enumerate(batches):
            torch.cuda.set_sync_debug_mode("error" if step else "default")
            optimizer.zero_grad()
            sum(ours.loss(batch, None).values()).backward()
            optimizer.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_bf16_autocast_keeps_keys_and_losses_in_float32():
    ours = build().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = ours.loss([x.float() for x in views(8, seed=0)], None)
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert ours.queue.dtype == torch.float32
    assert torch.allclose(ours.queue.norm(dim=0), torch.ones(QUEUE), atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "found"), [(views(4, 0)[0], "a Tensor"), ([*views(4, 0), *views(4, 1)], "4 views")]
)
def test_anything_but_two_views_is_named(inputs, found):
    with pytest.raises(ValueError, match=f"MultiView.*num_views=2; got {found}"):
        build().loss(inputs, None)


def test_a_head_for_logits_is_refused_with_the_head_to_use():
    head = dict(type="ContrastiveHead", loss=dict(type="CrossEntropyLoss"))
    with pytest.raises(
        TypeError, match="ContrastiveHead does not: use head=dict\\(type='XMoCoHead'"
    ):
        build(head=head)


def test_keys_have_the_width_of_the_queue():
    assert build().encode_key(views(4, 0)[0]).shape == (4, DIM)


def test_channels_last_and_compiled_encoders_leave_losses_and_weights(tmp_path):
    plain = build()
    fast = build(channels_last=True, compile_encoders=dict(backend="aot_eager"))
    assert fast.backbone.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert not plain.backbone.conv.weight.is_contiguous(memory_format=torch.channels_last)
    start = copy.deepcopy(learned(fast))
    assert_same(learned(plain), start, tolerance=0)
    assert train(fast, 5) == pytest.approx(train(plain, 5), abs=1e-9)
    assert_same(learned(plain), learned(fast))
    assert fast.backbone.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert any(not torch.equal(v, start[n]) for n, v in learned(fast).items())


def test_compiled_encoders_are_what_runs_and_leave_the_checkpoint_as_it_is():
    seen = []

    def backend(graph, examples):
        seen.append(len(examples))
        return graph.forward

    fast = build(compile_encoders=dict(backend=backend))
    assert fast.state_dict().keys() == build().state_dict().keys()
    train(fast, 1)
    assert len(seen) >= 3  # backbone, neck, key encoder
    train(copy.deepcopy(fast), 1)  # a copy forgets that it was compiled, and works
