# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Thresholds of the verdicts, a number at a time; runs that fail: tests/hooks/test_verdicts.py."""

import math

import pytest
import torch
import torch.nn.functional as F

from xmoco_plugin.evaluation import Accuracy, judge
from xmoco_plugin.evaluation.diagnostics import info_nce_of, uninformed_nce

TAU = 0.2
GUESS = uninformed_nce(1024)


def values(**changed) -> dict[str, float]:
    """Numbers of a healthy epoch, 1 nat below a guess."""
    healthy = dict(
        pos_sim_mean=0.6,
        neg_sim_mean=0.1,
        nce_uninformed=GUESS,
        nce_ratio=1 - 1 / GUESS,
        effective_rank=20.0,
    )
    return healthy | changed


def below_a_guess(nats: float) -> dict[str, float]:
    return values(nce_ratio=1 - nats / GUESS)


def test_a_healthy_epoch_is_learning_and_the_number_is_named():
    verdict = judge(values(), TAU)
    assert verdict.verdict == "learning"
    assert not verdict.is_failure
    assert "InfoNCE is 5.932, a guess 6.932" in str(verdict)
    assert "2.72 times as likely" in str(verdict)


def test_of_a_student_the_number_is_not_called_what_it_is_trained_by():
    verdict = str(judge(values(), TAU, taught=True))
    assert "InfoNCE against the teacher's keys, watched and not trained, is 5.932" in verdict
    assert "the teacher's key of an image is 2.72 times as likely" in verdict


@pytest.mark.parametrize(
    ("nats", "word"),
    [(-0.1, "not learning"), (0.69, "not learning"), (0.70, "learning"), (3, "learning")],
)
def test_the_own_key_must_be_twice_as_likely_as_by_chance(nats, word):
    verdict = judge(below_a_guess(nats), TAU)
    assert verdict.verdict == word
    assert f"{math.exp(nats):.3g} times" in verdict.reason


def test_two_groups_told_apart_are_just_twice_as_likely_as_by_chance():
    # What the threshold is derived from: embeddings +-u, every view in its image's group.
    sign = torch.tensor([1.0, -1.0]).repeat(50_000)
    nce = info_nce_of(torch.ones(2), torch.stack([sign, -sign]), temperature=0.01)
    assert uninformed_nce(100_000) - float(nce) == pytest.approx(math.log(2), abs=1e-4)


def test_random_vectors_are_no_better_than_a_guess():
    z = F.normalize(torch.randn(2200, 64, generator=torch.Generator().manual_seed(0)), dim=1)
    q, k, queue = z[:100], z[100:200], z[200:]
    nce = float(info_nce_of((q * k).sum(dim=1), q @ queue.T, TAU))
    # log of the mean of e^(s / tau), s of variance 1 / D.
    assert nce == pytest.approx(uninformed_nce(2000) + 1 / (2 * 64 * TAU**2), abs=0.15)
    ratio = nce / uninformed_nce(2000)
    numbers = dict(
        pos_sim_mean=float((q * k).sum(dim=1).mean()),
        neg_sim_mean=float((q @ queue.T).mean()),
        nce_ratio=ratio,
        nce_uninformed=uninformed_nce(2000),
    )
    assert judge(numbers, TAU).verdict == "not learning"


@pytest.mark.parametrize(
    ("temperature", "negative", "word"),
    [
        (0.2, 0.87, "collapsing"),
        (0.2, 0.85, "not learning"),
        (0.07, 0.94, "not learning"),
        (0.07, 0.96, "collapsing"),
        (None, 0.87, "collapsing"),
    ],
)
def test_images_too_alike_for_the_temperature_are_a_collapse(temperature, negative, word):
    numbers = below_a_guess(0.1) | dict(pos_sim_mean=0.98, neg_sim_mean=negative)
    if temperature is None:
        del numbers["nce_ratio"], numbers["nce_uninformed"]
    verdict = judge(numbers, temperature)
    assert verdict.verdict == word
    assert word != "collapsing" or f"{negative:.3f}" in verdict.reason


def test_images_too_alike_could_not_give_a_key_twice_a_guess():
    # InfoNCE is at least log(1 + K e^((m - 1) / tau)) for negatives of mean similarity m.
    negative = 1 - TAU * math.log(2)
    best = info_nce_of(torch.ones(1), torch.full((1, 65536), negative), TAU)
    assert uninformed_nce(65536) - float(best) == pytest.approx(math.log(2), abs=1e-3)


def test_embeddings_on_a_line_are_a_collapse():
    verdict = judge(values(effective_rank=1.4), TAU)
    assert verdict.verdict == "collapsing"
    assert "1.40" in verdict.reason


@pytest.mark.parametrize(("temperature", "word"), [(1.4, "learning"), (1.5, "not learning")])
def test_a_temperature_at_which_nothing_can_be_learnt_is_named_at_once(temperature, word):
    # 1 / tau, the most that unit vectors can gain on negatives of similarity 0, below log 2.
    verdict = judge(below_a_guess(0.7) | dict(neg_sim_mean=0.0), temperature)
    assert verdict.verdict == word
    if word == "not learning":
        assert f"temperature of {temperature}" in verdict.reason
        assert judge(values(), temperature, early="the first epoch").verdict == word


@pytest.mark.parametrize(("share", "word"), [(0.34, "learning"), (0.55, "not learning")])
def test_views_that_raw_pixels_match_leave_little_to_learn_whatever_knn_says(share, word):
    verdict = judge(values(pixel_match=share), TAU, accuracy=Accuracy(70, 50, 1000))
    assert verdict.verdict == word
    assert word == "learning" or "55%" in verdict.reason


@pytest.mark.parametrize(
    ("now", "images", "word"),
    [
        (50.0, 1000, "not learning"),
        (55.0, 1000, "not learning"),
        (58.0, 1000, "learning"),
        (55.0, 10000, "learning"),
    ],
)
def test_knn_must_rise_by_more_than_chance(now, images, word):
    verdict = judge(values(), TAU, accuracy=Accuracy(now, 50.0, images))
    assert verdict.verdict == word
    assert f"{now:.1f} %, 50.0 % before" in verdict.reason


def test_few_labelled_images_are_no_judge():
    # Three standard errors of a difference: 42 points with 25 images, 10.6 with 400, 9.5 with 500.
    blind = judge(values(), TAU, accuracy=Accuracy(50.0, 50.0, 400))
    assert blind.verdict == "learning"
    assert "400 images do not tell from chance (11 points)" in blind.reason
    assert judge(values(), TAU, accuracy=Accuracy(50.0, 50.0, 500)).verdict == "not learning"


def test_noise_of_knn_is_three_standard_errors_of_a_difference():
    assert Accuracy(50, 50, 1000).noise == pytest.approx(300 * math.sqrt(2 * 0.25 / 1000))


def test_what_is_too_early_is_no_failure_however_bad_it_looks():
    verdict = judge(below_a_guess(-1), TAU, early="the queue holds 10% of its keys")
    assert str(verdict) == "too early: the queue holds 10% of its keys"
    assert not verdict.is_failure


def test_nan_is_never_too_early():
    verdict = judge(values(pos_sim_mean=math.nan), TAU, early="the first epoch")
    assert verdict.verdict == "not learning"
    assert "pos_sim_mean" in verdict.reason


def test_without_a_temperature_the_similarities_are_judged():
    apart = dict(pos_sim_mean=0.9, neg_sim_mean=0.1)
    assert judge(apart, None).verdict == "learning"
    mixed = dict(pos_sim_mean=0.5, neg_sim_mean=0.45)
    assert judge(mixed, None).verdict == "not learning"
    assert judge({}, None).verdict == "too early"


def test_a_run_that_is_worse_than_it_began_says_from_what_to_what_and_what_to_change():
    verdict = judge(values(), TAU, accuracy=Accuracy(87.0, 92.0, 500, pretrained=True))
    assert verdict.verdict == "worse than it began"
    assert verdict.is_failure
    assert str(verdict).startswith(
        "worse than it began: 92.0 % -> 87.0 % by kNN, -5.0 ± 1.9 points"
    )
    assert "a lower rate or for fewer epochs" in verdict.reason
    assert "keep the weights that it began with" in verdict.reason


@pytest.mark.parametrize(("error", "word"), [(2.4, "worse than it began"), (2.6, "not learning")])
def test_the_error_on_the_same_images_decides_where_it_is_known(error, word):
    accuracy = Accuracy(87.0, 92.0, 500, error, pretrained=True)
    assert judge(values(), TAU, accuracy=accuracy).verdict == word


@pytest.mark.parametrize(("good", "word"), [(True, "worse than it began"), (False, "too early")])
def test_good_weights_can_be_lost_before_anything_else_can_be_said(good, word):
    accuracy = Accuracy(80.0, 92.0, 500, pretrained=good)
    assert judge(values(), TAU, early="warming up", accuracy=accuracy).verdict == word
