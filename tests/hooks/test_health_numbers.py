# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the numbers are: of the loss, queue, gradient and key encoder; of other algorithms."""

import json
import math

import pytest
import torch
from mmengine.hooks import Hook

from xmoco_plugin.hooks import HealthHook
from xmoco_plugin.hooks.health_record import read_health

from .. import models
from .health_run import ALL, OF_ITS_BATCH, PREPROCESSOR, build


def test_nce_ratio_is_the_logged_term_over_its_uninformed_value(tmp_path):
    build(tmp_path, epochs=1, health=dict(interval=1)).train()
    rows = next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()
    row = json.loads(rows[0])  # of iterations 1 and 2
    guess = math.log(1 + models.QUEUE)
    assert row["health/nce_uninformed"] == pytest.approx(guess)
    assert row["health/nce_ratio"] == pytest.approx(row["loss_nce"] / guess, rel=1e-4)


def test_queue_fill_and_age_go_on_after_a_resume(tmp_path):
    model = models.config(queue_len=48, data_preprocessor=PREPROCESSOR)
    build(tmp_path, epochs=2, model=model).train()
    build(tmp_path, epochs=4, model=model, resume=True).train()
    lines = read_health(tmp_path / "health.jsonl")
    values = [line["values"] for line in lines]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    # Means of the looks at iterations 2 and 4 of each epoch.
    assert [v["queue_fill"] for v in values] == pytest.approx([12 / 48, 28 / 48, 44 / 48, 1])
    assert [v["queue_age_steps"] for v in values] == pytest.approx([3, 7, 11, 12])
    assert values[3]["queue_age_epochs"] == pytest.approx(3)


def test_a_loaded_queue_is_full_from_the_start(tmp_path):
    build(tmp_path / "first", epochs=1).train()
    start = str(tmp_path / "first" / "epoch_1.pth")
    build(tmp_path / "second", epochs=1, load_from=start).train()
    line = read_health(tmp_path / "second" / "health.jsonl")[0]
    assert line["values"]["queue_fill"] == 1


class NoteGradient(Hook):
    """The norm of the gradient, from the parameters, after each step."""

    def __init__(self):
        self.norms = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        squares = [
            float(p.grad.double().square().sum())
            for p in runner.model.parameters()
            if p.grad is not None
        ]
        self.norms.append(math.sqrt(sum(squares)))


def test_gradient_norm_is_that_of_the_step(tmp_path, monkeypatch):
    # So that the gradient is still there after the step.
    monkeypatch.setattr("mmengine.optim.OptimWrapper.zero_grad", lambda self, **kwargs: None)
    runner = build(tmp_path, epochs=1, health=dict(interval=1))
    note = NoteGradient()
    runner.register_hook(note)
    runner.train()
    values = read_health(tmp_path / "health.jsonl")[0]["values"]
    assert values["grad_norm"] == pytest.approx(sum(note.norms) / 4, rel=1e-4)


def test_a_clipped_gradient_is_reported_as_it_was_before_clipping(tmp_path):
    optimizer = dict(type="SGD", lr=0.0)
    clip = dict(optimizer=optimizer, clip_grad=dict(max_norm=1e-3))
    build(tmp_path / "clip", epochs=1, health=dict(interval=1), optim_wrapper=clip).train()
    build(
        tmp_path / "free",
        epochs=1,
        health=dict(interval=1),
        optim_wrapper=dict(optimizer=optimizer),
    ).train()
    clipped, free = (
        [
            json.loads(line)["health/grad_norm"]
            for line in next((tmp_path / name).glob("*/vis_data/scalars.json"))
            .read_text()
            .splitlines()
        ]
        for name in ("clip", "free")
    )
    assert min(clipped) > 0.01
    assert clipped[0] == pytest.approx(free[0], rel=0.5)


def test_a_gradient_scalers_scale_is_taken_out_of_a_fused_optimizers_gradient():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    hook = HealthHook()
    hook._gradients = []
    for scale in (None, torch.tensor(8.0)):
        weight.grad = torch.tensor([3.0, 4.0]) * (1 if scale is None else 8)
        hook._gradient_due, optimizer.grad_scale = True, scale
        hook._look_at_gradient(optimizer, (), {})
        hook._look_at_gradient(optimizer, (), {})  # not due: not looked at
    assert [float(norm) for norm in hook._gradients] == [5.0, 5.0]


def test_ema_distance_is_0_while_the_key_encoder_is_the_query_encoder(tmp_path):
    still = dict(optimizer=dict(type="SGD", lr=0.0))
    build(tmp_path / "still", epochs=1, optim_wrapper=still).train()
    build(tmp_path / "moving", epochs=2).train()
    distance = lambda name: read_health(tmp_path / name / "health.jsonl")[-1]["values"]  # noqa: E731
    assert distance("still")["ema_distance"] == 0
    assert 1e-4 < distance("moving")["ema_distance"] < 1


def test_the_hosts_moco_is_watched_too(tmp_path):
    model = models.config("MoCo", data_preprocessor=PREPROCESSOR)
    build(tmp_path, epochs=1, model=model).train()
    values = read_health(tmp_path / "health.jsonl")[0]["values"]
    assert set(values) == ALL - {"alignment", "asymmetry"}


def test_without_queue_temperature_and_momentum_encoder_their_numbers_are_left_out(tmp_path):
    predictor = dict(
        type="NonLinearNeck",
        in_channels=models.DIM,
        hid_channels=32,
        out_channels=models.DIM,
        with_avg_pool=False,
        norm_cfg=dict(type="BN1d"),
    )
    model = models.config(data_preprocessor=PREPROCESSOR)
    simsiam = dict(
        type="SimSiam",
        backbone=model["backbone"],
        neck=model["neck"],
        head=dict(
            type="LatentPredictHead", loss=dict(type="CosineSimilarityLoss"), predictor=predictor
        ),
        data_preprocessor=PREPROCESSOR,
    )
    build(tmp_path, epochs=1, model=simsiam).train()
    line = read_health(tmp_path / "health.jsonl")[0]
    absent = {"nce_ratio", "nce_uninformed", "neg_entropy"}
    assert set(line["values"]) == (OF_ITS_BATCH - absent) | {"grad_norm"}
    assert line["verdict"] != "too early"


class BreakWeights(Hook):
    """Makes the query encoder's embeddings NaN after the second iteration."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 1:
            next(runner.model.neck.parameters()).data.fill_(math.nan)


def test_embeddings_that_become_nan_are_not_learning(tmp_path):
    runner = build(tmp_path, epochs=2)
    runner.register_hook(BreakWeights())
    runner.train()
    lines = read_health(tmp_path / "health.jsonl")
    assert [line["verdict"] for line in lines] == ["not learning"] * 2
    assert all("effective_rank" in line["reason"] for line in lines)
    assert all(line["reason"].endswith("became NaN or infinite") for line in lines)
