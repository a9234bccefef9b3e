# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The sentences of xmoco compare."""

from xmoco_plugin.cli.compare_results import Difference, verdicts


def difference(other: str, share: float, values: list[float], low: float, high: float, learnt=True):
    return Difference(other, share, values, low, high, learnt)


def test_a_verdict_needs_five_seeds_an_interval_without_0_and_something_learnt():
    five = [1.0] * 5
    told = verdicts(
        "mine",
        "AP",
        [
            difference("coco", 5, [-2.0] * 5, -3.0, -1.0),
            difference("coco", 10, five, -0.5, 2.5),
            difference("coco", 100, [0.0] * 5, 0.0, 0.0, learnt=False),
            difference("scratch", 10, [1.0, 3.0, 2.0], 1.0, 3.0),
        ],
    )
    assert told == [
        "mine against coco: with 5 % of the labels mine is worse by 2.0 AP (1.0 to 3.0); with 10 % "
        "of the labels no difference is shown (-0.5 to +2.5 AP); with all labels neither found "
        "anything, so nothing is known: train longer (--max-iters).",
        "mine against scratch: with 10 % of the labels 2.0 AP more in 3 seeds, which is no "
        "verdict: it takes 5.",
        "2 comparisons at 95 % each: where nothing differs, some difference would be shown by "
        "chance in up to 10 of 100 such tables.",
    ]
