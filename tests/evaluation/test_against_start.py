# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Standard errors of a difference by hand, and who must prove what."""

import math

import numpy as np
import pytest

from xmoco_plugin.evaluation import Answers, change, is_fit
from xmoco_plugin.evaluation.against_start import hits_of


def answers(right: list[int], queries: int = 100) -> Answers:
    """Those of the queries are right."""
    hits = np.zeros(queries, dtype=bool)
    hits[right] = True
    return Answers(100 * hits.mean(), queries, hits)


def test_on_the_same_queries_only_those_count_that_one_alone_answers():
    # 60 right before, 64 after: 6 lost, 10 won, 54 kept.
    since = change(answers(list(range(60))), answers(list(range(6, 70))))
    assert since.points == pytest.approx(4.0)
    assert since.error == pytest.approx(100 * math.sqrt(6 + 10) / 100)  # 4 points
    assert str(since) == "+4.0 ± 4.0 points (100 queries)"


def test_without_the_hits_the_error_is_that_of_independent_queries():
    since = change(Answers(92.0, 500), Answers(87.0, 500))
    assert since.error == pytest.approx(100 * math.sqrt((0.92 * 0.08 + 0.87 * 0.13) / 500))
    assert since.has_fallen  # 5 points, 2 errors are 3.9
    assert not change(Answers(92.0, 250), Answers(87.0, 250)).has_fallen


@pytest.mark.parametrize(("lost", "fallen"), [(4, False), (5, True)])
def test_a_fall_is_more_than_two_standard_errors(lost, fallen):
    # sqrt(4) = 2 is just half of 4; sqrt(5) = 2.24 is less than half of 5.
    since = change(answers(list(range(60))), answers(list(range(lost, 60))))
    assert since.has_fallen is fallen


def test_answers_that_did_not_change_have_no_error_and_have_not_fallen():
    since = change(answers([1, 2]), answers([1, 2]))
    assert (since.points, since.error, since.has_fallen) == (0, 0, False)


@pytest.mark.parametrize(
    ("won", "lost", "of_good", "of_random"),
    [(9, 0, True, True), (1, 0, False, True), (0, 0, False, True), (0, 1, False, True)]
    + [(0, 2, False, False), (10, 6, False, True), (11, 6, True, True)],
)
def test_good_weights_must_be_beaten_and_random_ones_only_reached(won, lost, of_good, of_random):
    since = change(answers(list(range(40))), answers(list(range(lost, 40 + won))))
    assert is_fit(since, pretrained=True) is of_good
    assert is_fit(since, pretrained=False) is of_random


def test_hits_survive_as_text_and_what_is_no_such_text_is_not_taken():
    known = answers([0, 7, 8, 99])
    again = Answers.of(known.percent, 100, known.packed)
    np.testing.assert_array_equal(again.hits, known.hits)
    for text in (known.packed, "no base64!", None, 7):
        assert Answers.of(4.0, 200, text).hits is None  # 200 queries are 25 bytes, not 13


def test_the_hits_of_several_processes_come_in_the_order_of_the_set():
    # Rank 0 has images 0, 2, 4, rank 1 has 1, 3 and once more 0.
    hits = hits_of([[True, False, True], [False, True, True]], 5)
    assert hits.tolist() == [True, False, False, True, True]
