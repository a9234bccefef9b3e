# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import StratifiedKFold
from sklearn.svm import LinearSVC

from xmoco_plugin.evaluation.svm import (
    COSTS,
    low_shot_scores,
    low_shot_targets,
    one_class,
    svm_scores,
)


def drawn(rows: int, seed: int, classes: int = 3, difficult: float = 0.1):
    """Several labels an image, some of them difficult; each class pulls along its own direction."""
    random = np.random.default_rng(seed)
    targets = (random.random((rows, classes)) < 0.4).astype(np.int64)
    features = random.normal(size=(rows, 8)) + 2 * targets @ np.eye(classes, 8)
    targets[random.random(targets.shape) < difficult] = -1
    return features / np.linalg.norm(features, axis=1, keepdims=True), targets


def test_each_class_equals_a_cross_validation_and_a_fit_by_hand():
    (features, targets), (tests, truth) = drawn(90, 0), drawn(60, 1)
    costs = (1e-3, 0.1, 10.0)
    result = svm_scores(features, targets, tests, truth, costs)
    for c in range(3):
        known = targets[:, c] >= 0
        x, y = features[known], targets[known, c]
        svm = lambda cost: LinearSVC(C=cost, class_weight={1: 2, 0: 1}, dual="auto")  # noqa: E731
        means = []
        for cost in costs:
            folds = StratifiedKFold(3).split(x, y)
            means.append(
                np.mean(
                    [
                        average_precision_score(
                            y[b], svm(cost).fit(x[a], y[a]).decision_function(x[b])
                        )
                        for a, b in folds
                    ]
                )
            )
        assert result.costs[c] == costs[int(np.argmax(means))]
        scores = svm(result.costs[c]).fit(x, y).decision_function(tests)
        np.testing.assert_allclose(result.scores[:, c], scores, atol=1e-6)
    assert 60 < result.mean_precision < 100


def test_average_precision_by_rule_step_is_scikit_learns():
    (features, targets), (tests, truth) = drawn(60, 2), drawn(60, 3)
    result = svm_scores(features, targets, tests, truth, [1.0], rule="step")
    for c in range(3):
        known = truth[:, c] >= 0
        theirs = average_precision_score(truth[known, c], result.scores[known, c])
        assert result.precisions[c] == pytest.approx(100 * theirs, abs=1e-9)


def test_difficult_training_images_play_no_part():
    (features, targets), (tests, _) = drawn(60, 4), drawn(20, 5)
    known = targets[:, 0] >= 0
    assert (~known).any()
    with_them = one_class(features, targets[:, 0], tests, (0.1, 1.0))
    without = one_class(features[known], targets[known, 0], tests, (0.1, 1.0))
    np.testing.assert_array_equal(with_them[0], without[0])


def test_two_threads_give_what_one_gives():
    (features, targets), (tests, truth) = drawn(60, 6), drawn(30, 7)
    one = svm_scores(features, targets, tests, truth, (0.1, 1.0), jobs=1)
    two = svm_scores(features, targets, tests, truth, (0.1, 1.0), jobs=2)
    np.testing.assert_array_equal(one.scores, two.scores)


def test_low_shot_leaves_k_images_a_class_and_the_same_for_the_same_seed():
    _, targets = drawn(200, 8)
    chosen = low_shot_targets(targets, 4, np.random.default_rng(0))
    assert (chosen == 1).sum(axis=0).tolist() == [4] * 3
    assert (chosen == 0).sum(axis=0).tolist() == [8] * 3
    assert (chosen[chosen >= 0] == targets[chosen >= 0]).all()
    np.testing.assert_array_equal(chosen, low_shot_targets(targets, 4, np.random.default_rng(0)))
    with pytest.raises(ValueError, match=r"k = 500 images a class, but the smallest class has \d+"):
        low_shot_targets(targets, 500, np.random.default_rng(0))


def test_more_shots_score_higher_and_samples_differ():
    (features, targets), (tests, truth) = drawn(300, 9), drawn(200, 10)
    found = low_shot_scores(
        features, targets, tests, truth, shots=(1, 32), samples=3, costs=(0.1, 1.0)
    )
    assert {k: len(v) for k, v in found.items()} == {1: 3, 32: 3}
    assert found[32].mean() > found[1].mean()
    assert found[1].std() > 0


def test_the_grid_of_costs_is_that_of_fairs_benchmark():
    assert len(COSTS) == 26
    assert COSTS[:2] == pytest.approx((1e-7, 1e-6))
    assert COSTS[-1] == 2.0**-19


def test_a_class_that_no_test_image_shows_is_left_out_of_the_mean():
    (features, targets), (tests, truth) = drawn(60, 11), drawn(30, 12)
    lacking = truth.copy()
    lacking[:, 1] = 0
    whole = svm_scores(features, targets, tests, truth, [1.0])
    found = svm_scores(features, targets, tests, lacking, [1.0])
    assert found.mean_precision == pytest.approx(np.delete(whole.precisions, 1).mean())
    shots = low_shot_scores(features, targets, tests, lacking, shots=[2], samples=2, costs=[1.0])
    assert np.isfinite(shots[2]).all()


def test_bad_input_is_refused_with_the_value_at_fault():
    (features, targets), (tests, truth) = drawn(60, 11), drawn(30, 12)
    empty = targets.copy()
    empty[:, 1] = 0
    with pytest.raises(
        ValueError, match=r"training set of 60 images has no image for class\(es\) \[1\]"
    ):
        svm_scores(features, empty, tests, truth, [1.0])
    with pytest.raises(ValueError, match="no image without it"):
        svm_scores(features, np.ones_like(targets), tests, truth, [1.0])
    with pytest.raises(ValueError, match="test: 30 of 30 feature rows hold NaN"):
        svm_scores(features, targets, tests * np.nan, truth, [1.0])
