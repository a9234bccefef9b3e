# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from xmoco_plugin.hooks.embedding_capture import EmbeddingCapture, temperature_of

from .. import models

ENCODER = dict(type="TinyEncoder", norm=True)
NECK = dict(type="MoCoV2Neck", in_channels=16, hid_channels=12, out_channels=models.DIM)
PREDICTOR = dict(
    type="NonLinearNeck",
    in_channels=models.DIM,
    hid_channels=32,
    out_channels=models.DIM,
    with_avg_pool=False,
    with_last_bn=False,
    norm_cfg=dict(type="BN1d"),
)
PAIRS = {  # algorithms of the host whose head gets two sets of embeddings
    "SimSiam": dict(
        type="LatentPredictHead", loss=dict(type="CosineSimilarityLoss"), predictor=PREDICTOR
    ),
    "BYOL": dict(
        type="LatentPredictHead", loss=dict(type="CosineSimilarityLoss"), predictor=PREDICTOR
    ),
    "MoCoV3": dict(
        type="MoCoV3Head",
        predictor=PREDICTOR,
        loss=dict(type="CrossEntropyLoss", loss_weight=2.0),
        temperature=0.5,
    ),
    "BarlowTwins": dict(
        type="LatentCrossCorrelationHead",
        in_channels=models.DIM,
        loss=dict(type="CrossCorrelationLoss"),
    ),
}


def build(kind: str, head: dict):
    torch.manual_seed(0)
    return MODELS.build(dict(type=kind, backbone=ENCODER, neck=NECK, head=head)).double().train()


def heard(model, inputs):
    """What is heard of one step, and the step's losses."""
    capture = EmbeddingCapture(model)
    capture.listening = True
    losses = model.loss(inputs, [])
    found = capture.take()
    capture.close()
    return found, losses


def test_queries_keys_and_queue_of_xmoco_are_those_of_its_step():
    model, inputs = models.build(), models.views(6, seed=0)
    queue = model.queue.clone()
    found, _ = heard(model, inputs)
    assert torch.equal(found.queue, queue)
    torch.testing.assert_close(found.k, model.queue[:, :6].T)
    assert found.q.shape == (6, models.DIM)
    assert not found.q.requires_grad
    assert found.positive is None


def test_similarities_of_the_hosts_moco_come_with_its_queries():
    model, inputs = models.build("MoCo"), models.views(6, seed=0)
    queue = model.queue.clone()
    found, _ = heard(model, inputs)
    assert found.k is None
    assert found.queue is None
    torch.testing.assert_close(found.negative, found.q @ queue)
    torch.testing.assert_close(found.positive, (found.q * model.queue[:, :6].T).sum(dim=1))


@pytest.mark.parametrize("kind", PAIRS)
def test_heads_of_two_embeddings_give_predictions_and_keys(kind):
    model, inputs = build(kind, PAIRS[kind]), models.views(6, seed=0)
    called = []
    if hasattr(model.head, "predictor"):
        model.head.predictor.register_forward_hook(lambda m, args, out: called.append(out[0]))
    found, _ = heard(model, inputs)
    assert found.q.shape == found.k.shape == (6, models.DIM)
    torch.testing.assert_close(found.q.norm(dim=1), torch.ones(6, dtype=torch.float64))
    if called:
        torch.testing.assert_close(found.q, F.normalize(called[0], dim=1))
    assert found.queue is None


def test_listening_changes_no_loss_and_nothing_is_left_behind():
    inputs = models.views(6, seed=0)
    plain = models.build().loss(inputs)
    model = models.build()
    _, losses = heard(model, inputs)
    for name, value in plain.items():
        assert torch.equal(value, losses[name])
    assert "loss" not in vars(model.head)
    assert not model.neck._forward_hooks


def test_what_is_not_asked_for_is_not_kept():
    model = models.build()
    capture = EmbeddingCapture(model)
    model.loss(models.views(6, seed=0))
    assert capture.take() is None
    capture.listening = True
    model.loss(models.views(6, seed=0))
    assert capture.take() is not None
    assert capture.take() is None


def test_of_a_symmetric_step_the_first_pass_is_heard():
    inputs = models.views(6, seed=0)
    first, _ = heard(models.build(), inputs)
    both, _ = heard(models.build(symmetric=True), inputs)
    torch.testing.assert_close(both.q, first.q)
    torch.testing.assert_close(both.k, first.k)


def test_half_precision_is_measured_in_float32():
    class Head(torch.nn.Module):
        def loss(self, q, k):
            return {}

    model = torch.nn.Module()
    model.head = Head()
    capture = EmbeddingCapture(model)
    capture.listening = True
    model.head.loss(torch.randn(4, 8).bfloat16(), k=torch.randn(4, 8).bfloat16())
    found = capture.take()
    assert found.q.dtype == found.k.dtype == torch.float32
    torch.testing.assert_close(found.q.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize(
    "arguments",
    [
        (torch.zeros(4, 8),),
        (torch.zeros(4, 8), torch.zeros(4, 6)),
        (torch.zeros(4, 9, 8), torch.zeros(4, 9, 8)),
        ([torch.zeros(4, 8)], torch.zeros(4, 8)),
    ],
)
def test_heads_of_other_kinds_are_let_alone(arguments):
    class Head(torch.nn.Module):
        def loss(self, *arguments):
            return {"loss": 1.0}

    model = torch.nn.Module()
    model.head = Head()
    capture = EmbeddingCapture(model)
    capture.listening = True
    assert model.head.loss(*arguments) == {"loss": 1.0}
    assert capture.take() is None


def test_the_temperature_is_the_heads_and_not_a_terms():
    assert temperature_of(models.build().head) == 0.2
    assert temperature_of(models.build("MoCo").head) == 0.2
    assert temperature_of(build("MoCoV3", PAIRS["MoCoV3"]).head) == 0.5
    assert temperature_of(build("SimSiam", PAIRS["SimSiam"]).head) is None
