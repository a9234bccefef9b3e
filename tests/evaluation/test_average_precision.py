# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from xmoco_plugin.evaluation.average_precision import average_precision

# Ranked: hit, miss, hit, hit, miss. Precision at the hits 1, 2/3, 3/4; made falling 1, 3/4, 3/4.
TRUTH = np.array([1, 0, 1, 1, 0])
SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.5])


def by_definition(truth, scores, rule):
    """Precision at every rank, by counting; the largest at each recall or beyond."""
    truth, scores = truth[truth >= 0], scores[truth >= 0]
    ranked = truth[np.argsort(-scores, kind="stable")]
    curve = []
    for rank in range(1, len(ranked) + 1):
        hits = ranked[:rank].sum()
        curve.append((hits / ranked.sum(), hits / rank))
    best = lambda recall: max(p for r, p in curve if r >= recall)  # noqa: E731
    if rule == "11point":
        return np.mean([best(tenth / 10) for tenth in range(11)])
    return np.mean([best((i + 1) / ranked.sum()) for i in range(ranked.sum())])


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ("area", (1 + 3 / 4 + 3 / 4) / 3),
        ("11point", (4 * 1 + 7 * 3 / 4) / 11),  # recall 0 to 0.3 is reached at the first hit
        ("step", (1 + 2 / 3 + 3 / 4) / 3),
    ],
)
def test_value_by_hand(rule, value):
    assert average_precision(TRUTH, SCORES, rule) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("rule", ["area", "11point"])
def test_equals_its_definition_by_loops(rule):
    random = np.random.default_rng(0)
    for _ in range(30):
        truth = random.integers(-1, 2, 40)
        scores = random.permutation(40) / 7
        expected = by_definition(truth, scores, rule)
        assert average_precision(truth, scores, rule) == pytest.approx(expected, abs=1e-12)


def test_equals_scikit_learn_where_precision_falls_and_is_never_less_elsewhere():
    random = np.random.default_rng(1)
    for _ in range(30):
        truth, scores = random.integers(0, 2, 30), random.random(30)
        truth[0] = 1
        theirs = average_precision_score(truth, scores)
        assert average_precision(truth, scores, "step") == theirs
        assert average_precision(truth, scores, "area") >= theirs - 1e-12
    falling = np.array([1, 1, 1, 0, 0, 1])
    ranks = np.arange(6)[::-1]
    assert average_precision(falling, ranks) == pytest.approx(
        average_precision_score(falling, ranks), abs=1e-12
    )


def test_difficult_images_change_nothing_wherever_they_rank():
    truth = np.array([-1, 1, 0, -1, 1, 1, 0, -1])
    scores = np.array([1.0, 0.9, 0.8, 0.75, 0.7, 0.6, 0.5, 0.0])
    assert average_precision(truth, scores) == average_precision(TRUTH, SCORES)


def test_equal_scores_give_the_same_in_any_order():
    truth = np.array([1, 0, 0, 1, 0, 1])
    scores = np.array([1, 1, 1, 0, 0, 0])
    for order in ([0, 1, 2, 3, 4, 5], [2, 1, 0, 5, 4, 3]):
        assert average_precision(truth[order], scores) == pytest.approx(1 / 2)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="none of 3 images"):
        average_precision(np.array([0, 0, -1, 0]), np.arange(4))
    with pytest.raises(ValueError, match="1 of 5 scores"):
        average_precision(TRUTH, np.array([1, 2, np.nan, 4, 5]))
    with pytest.raises(ValueError, match="not '12point'"):
        average_precision(TRUTH, SCORES, "12point")
