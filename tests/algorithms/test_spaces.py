# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A term that compares the backbone's features: with a queue of their own, beside the other."""

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from tests.algorithms.test_xmoco import train
from tests.models import DIM, QUEUE, build, config, views
from xmoco_plugin.algorithms.spaces import pooled
from xmoco_plugin.heads import RegularizedHead, XMoCoHead
from xmoco_plugin.losses import cross_consistency, info_nce

RELATION = dict(pairs="queue", target="momentum", divergence="kl", temperature=0.1)
RELATION |= dict(teacher_temperature=0.05, loss_weight=2.0)
HEAD = dict(type="XMoCoHead", consistency=dict(RELATION, space="backbone"))
FEATURES = 16


def test_the_term_is_that_of_the_backbones_features_and_infonce_that_of_the_embeddings():
    model = build(head=HEAD, norm=False)
    images = views(8, seed=0)
    queue, feature_queue = model.queue.clone(), model.feature_queue.clone()
    losses = model.loss(images)
    maps = [model.backbone(view) for view in images]  # before the first step both encoders are one
    q, k = (F.normalize(model.neck(m)[0], dim=1) for m in maps)
    f, g = (F.normalize(m[0].mean(dim=(2, 3)), dim=1) for m in maps)
    expected = cross_consistency(
        f,
        g.detach(),
        feature_queue,
        **{name: value for name, value in RELATION.items() if name != "loss_weight"},
    )
    assert losses["loss_nce"].item() == pytest.approx(info_nce(q, k, queue, 0.2).item(), rel=1e-9)
    assert losses["loss_consistency"].item() == pytest.approx(2 * expected.item(), rel=1e-9)
    # The keys are in both queues, image by image.
    assert torch.allclose(model.queue[:, :8], k.T)
    assert torch.allclose(model.feature_queue[:, :8], g.T)
    assert torch.equal(model.feature_queue[:, 8:], feature_queue[:, 8:])
    losses["loss_consistency"].backward()
    assert all(p.grad is None or not p.grad.any() for p in model.neck.parameters())
    assert model.backbone.conv.weight.grad.abs().sum() > 0


def test_it_trains_wraps_around_the_queue_and_goes_on_from_its_state():
    model = build(head=HEAD, symmetric=True)
    train(model, 3)
    assert model.feature_queue.shape == (FEATURES, QUEUE)
    assert torch.allclose(model.feature_queue.norm(dim=0), torch.ones(1, dtype=torch.float64))
    again = build(seed=1, head=HEAD, symmetric=True)
    again.load_state_dict(model.state_dict())
    assert train(again, 2, first=3) == pytest.approx(train(model, 2, first=3), abs=1e-12)


def test_without_such_a_term_nothing_is_kept_and_the_same_random_numbers_are_drawn():
    plain = build(head=dict(type="XMoCoHead", consistency=RELATION))
    assert "feature_queue" not in plain.state_dict()
    assert plain.encode_query(views(4, 0)[0]).shape == (4, DIM)
    extra = build(head=HEAD).state_dict().keys() - plain.state_dict().keys()
    assert extra == {"feature_queue"}


def test_what_is_called_is_what_is_compiled():
    called = []
    for head in (HEAD, dict(type="XMoCoHead")):
        model = build(head=head)
        for part in model.encoder_parts:
            part.register_forward_hook(lambda module, *_: called.append(module))
        model.loss(views(8, seed=0))
        assert {id(part) for part in called} == {id(part) for part in model.encoder_parts}
        called.clear()


def test_where_there_are_no_features_the_error_says_who_gives_them():
    q = F.normalize(torch.randn(4, DIM), dim=1)
    with pytest.raises(ValueError, match=r"use model.type='XMoCo' with XMoCoHead, or space='neck'"):
        XMoCoHead(consistency=HEAD["consistency"]).loss(q, q, q.T)
    with pytest.raises(ValueError, match="space='backbone' compares the features"):
        RegularizedHead(dict(type="LatentPredictHead"), consistency=dict(space="backbone"))
    with pytest.raises(ValueError, match="one of 'neck', 'backbone', got 'pixels'"):
        XMoCoHead(consistency=dict(space="pixels"))
    nameless = config(head=HEAD)
    nameless["neck"] = dict(type="GlobalAveragePooling")
    with pytest.raises(ValueError, match="set in_channels of neck"):
        MODELS.build(nameless)


@pytest.mark.parametrize(("shape", "places"), [((2, 3), 1), ((2, 5, 3), 5), ((2, 3, 4, 5), 20)])
def test_features_are_means_over_tokens_or_places_of_the_last_stage(shape, places):
    found = pooled((torch.zeros(2, 7, 1, 1), torch.full(shape, 2.0)))
    assert torch.equal(found, torch.full((2, 3), 2.0))
    last = torch.zeros(shape)
    last[(0,) * len(shape)] = 1.0
    assert pooled([last])[0, 0].item() == pytest.approx(1 / places)
