# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch

from xmoco_plugin.evaluation.features import LabelledFeatures
from xmoco_plugin.evaluation.knn import knn_topk, knn_votes
from xmoco_plugin.evaluation.protocols import (
    PROTOCOLS,
    LabelledSets,
    Settings,
    check_sets,
    run_knn,
    run_linear,
)
from xmoco_plugin.precision import unit_norm

FAST = Settings(
    ks=(1, 7),
    temperatures=(0.1, None),
    lrs=(1.0,),
    weight_decays=(0.0,),
    epochs=5,
    costs=(1.0,),
    shots=(1, 4),
    samples=2,
)


def part(rows: int, seed: int, labels=None) -> LabelledFeatures:
    """Features of a backbone: not of unit norm, three classes that overlap."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.arange(rows) % 3 if labels is None else labels
    centres = 3 * torch.eye(3, 6)[torch.arange(rows) % 3]
    features = 4 * (centres + torch.randn(rows, 6, generator=generator)) + 2
    return LabelledFeatures(features, truth, torch.arange(rows))


def sets(**changes) -> LabelledSets:
    return LabelledSets(**{"train": part(60, 0), "test": part(45, 1), **changes})


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_scores_far_above_chance_and_says_what_it_did(name):
    scores = PROTOCOLS[name](sets(), FAST)
    assert scores
    for score in scores:
        assert score.protocol == name
        assert score.setting
        assert 45 < score.percent <= 100
    assert all((score.std is not None) == (name == "low-shot") for score in scores)


def test_knn_of_every_setting_is_what_a_search_of_its_own_gives():
    scores = run_knn(sets(), FAST)
    assert [s.setting for s in scores] == ["k1_T0.1", "k1_majority", "k7_T0.1", "k7_majority"]
    train, test = sets()[:2]
    found = knn_topk(unit_norm(test.features), unit_norm(train.features), 7)
    votes = knn_votes(found[0], train.labels[found[1]], 3, 0.1)
    expected = 100 * (votes.argmax(1) == test.labels).double().mean()
    assert scores[2].percent == pytest.approx(float(expected))


def test_knn_searches_once_for_the_whole_grid(monkeypatch):
    from xmoco_plugin.evaluation import protocols

    calls = []
    search = protocols.FeatureBank.search
    spy = lambda self, queries, k: calls.append(k) or search(self, queries, k)  # noqa: E731
    monkeypatch.setattr(protocols.FeatureBank, "search", spy)
    run_knn(sets(), FAST)
    assert calls == [7]


def test_augmented_passes_take_part_in_training_the_heads():
    plain = run_linear(sets(), FAST)
    noise = 50 * torch.randn(4, 60, 6, generator=torch.Generator().manual_seed(0))
    given = run_linear(sets(augmented=part(60, 0).features + noise), FAST)
    assert "5 passes" in given[0].setting
    assert given[0].percent != plain[0].percent


def test_several_labels_an_image_go_to_the_svms_and_nowhere_else():
    targets = torch.eye(3, dtype=torch.int64)[torch.arange(60) % 3]
    targets[::7, 1] = -1
    several = sets(train=part(60, 0, targets), test=part(60, 1, targets))
    for name in ("svm", "low-shot"):
        assert all("mAP" in score.metric for score in PROTOCOLS[name](several, FAST))
    for name in ("knn", "linear-fast", "retrieval"):
        with pytest.raises(ValueError, match=f"{name} needs one label per image"):
            PROTOCOLS[name](several, FAST)


@pytest.mark.parametrize("name", ["knn", "linear-fast", "svm", "low-shot", "retrieval"])
def test_one_class_only_is_refused_by_every_protocol(name):
    one = torch.full((60,), 2)
    with pytest.raises(ValueError, match="class"):
        PROTOCOLS[name](sets(train=part(60, 0, one), test=part(60, 1, one)), FAST)


def test_of_the_default_neighbours_those_are_taken_that_there_are_images_for():
    small = sets(train=part(19, 0), test=part(9, 1))
    assert [score.setting for score in run_knn(small, Settings())] == ["k10_T0.07"]
    assert [score.setting for score in run_knn(sets(train=part(8, 0)), Settings())] == ["k1_T0.07"]
    metrics = [score.metric for score in PROTOCOLS["retrieval"](small, Settings())]
    assert metrics == ["recall@1", "recall@5", "mAP"]
    with pytest.raises(ValueError, match="k = 10 neighbours, but the bank has 8 images"):
        PROTOCOLS["retrieval"](small, Settings(recalls=(10,)))


def test_more_neighbours_than_the_bank_has_are_refused():
    with pytest.raises(ValueError, match="k = 61 neighbours, but the bank has 60 images"):
        run_knn(sets(), Settings(ks=(61,)))


def test_empty_sets_and_broken_features_are_named():
    with pytest.raises(ValueError, match="the test set is empty"):
        check_sets(sets(test=part(0, 1)))
    broken = part(60, 0)
    broken.features[4:7] = torch.nan
    with pytest.raises(ValueError, match="train: 3 of 60 feature rows hold NaN"):
        check_sets(sets(train=broken))
