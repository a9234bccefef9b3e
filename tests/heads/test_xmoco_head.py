# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch
from mmpretrain.models import ContrastiveHead
from mmpretrain.registry import MODELS

from tests.losses.test_values import drawn
from xmoco_plugin.heads import XMoCoHead
from xmoco_plugin.losses import CrossConsistencyLoss, UniformSimilarityLoss


def test_terms_are_weighted_and_named_and_the_total_is_their_sum():
    inputs = drawn()
    head = XMoCoHead(consistency=dict(loss_weight=2.0), uniformity=dict(loss_weight=0.5))
    losses = head.loss(*inputs)
    assert list(losses) == ["loss_nce", "loss_consistency", "loss_uniformity"]
    expected = 2 * CrossConsistencyLoss(loss_weight=1.0)(*inputs)
    assert losses["loss_consistency"].item() == pytest.approx(expected.item())
    expected = 0.5 * UniformSimilarityLoss(loss_weight=1.0)(*inputs)
    assert losses["loss_uniformity"].item() == pytest.approx(expected.item())


def test_defaults_are_the_documented_provisional_ones():
    head = MODELS.build(dict(type="XMoCoHead", consistency=dict(), uniformity=dict()))
    consistency, uniformity = head.consistency, head.uniformity
    assert (consistency.pairs, consistency.target, consistency.divergence) == (
        "batch",
        "transpose",
        "mse",
    )
    assert (uniformity.negatives, uniformity.direction) == ("batch", "forward")
    assert (consistency.loss_weight, uniformity.loss_weight) == (1.0, 0.1)
    assert head.temperature == consistency.temperature == uniformity.temperature == 0.2


def test_without_terms_it_is_the_hosts_contrastive_head():
    q, k, queue = drawn()
    host = ContrastiveHead(loss=dict(type="mmpretrain.CrossEntropyLoss"), temperature=0.07)
    expected = host.loss((q * k).sum(1, keepdim=True), q @ queue)
    losses = XMoCoHead(temperature=0.07).loss(q, k, queue)
    assert list(losses) == ["loss_nce"]
    assert losses["loss_nce"].item() == pytest.approx(expected.item(), rel=1e-14)


def test_another_term_can_be_put_in_by_its_type():
    head = XMoCoHead(consistency=dict(type="UniformSimilarityLoss", loss_weight=1.0))
    assert isinstance(head.consistency, UniformSimilarityLoss)


def test_one_image_is_fine_without_batch_terms_and_an_error_with_them():
    q, k, queue = drawn(n=1)
    options = dict(pairs="queue", target="momentum")
    assert torch.isfinite(XMoCoHead(consistency=options).loss(q, k, queue)["loss_consistency"])
    with pytest.raises(ValueError, match="global batch holds 1"):
        XMoCoHead(consistency=dict()).loss(q, k, queue)


def test_half_infonce_and_half_the_relation_are_sces_cross_entropy():
    q, k, queue = drawn()
    relation = dict(pairs="queue", target="momentum", divergence="kl", temperature=0.1)
    relation |= dict(teacher_temperature=0.05, positive=True, loss_weight=1.0)
    losses = XMoCoHead(0.1, consistency=relation, nce_weight=0.0).loss(q, k, queue)
    taught = 0.5 * torch.cat([q.new_ones(len(q), 1), (k @ queue / 0.05).softmax(1)], dim=1)
    logits = torch.cat([(q * k).sum(1, keepdim=True), q @ queue], dim=1) / 0.1
    expected = (
        -(taught * logits.log_softmax(1)).sum(1).mean() + (taught * taught.log()).sum(1).mean()
    )
    assert losses["loss_nce"].item() == 0
    assert losses["loss_consistency"].item() == pytest.approx(expected.item(), rel=1e-12)
    with pytest.raises(ValueError, match="nce_weight must not be negative, got -1"):
        XMoCoHead(nce_weight=-1)


def test_temperature_must_be_positive():
    with pytest.raises(ValueError, match=r"-0\.1"):
        XMoCoHead(temperature=-0.1)
