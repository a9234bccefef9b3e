# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The interval of a mean difference: values by hand, and how often it holds the truth."""

import numpy as np
import pytest

from xmoco_plugin.evaluation.paired import paired_interval


def test_one_seed_has_no_spread_and_equal_differences_have_none_either():
    assert paired_interval([1.0]) == (-float("inf"), float("inf"))
    assert paired_interval([0.7, 0.7, 0.7]) == pytest.approx((0.7, 0.7))


def test_the_interval_of_three_is_their_range_and_that_of_ten_is_not():
    assert paired_interval([-1.0, 0.5, 2.0]) == (-1.0, 2.0)
    low, high = paired_interval(np.arange(10.0))
    assert 0 < low < 4.5 < high < 9


def test_five_seeds_hold_the_truth_in_nine_of_ten_cases():
    # By 1,000 cases of the normal distribution: 92 %. Quantiles of 2.5 % and 97.5 % would do 84 %.
    random = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        low, high = paired_interval(random.normal(size=5), resamples=2000)
        held += low <= 0 <= high
    assert 0.88 < held / 400 < 0.97
