# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which images a share of the labels has, and how shares are named on the command line."""

from collections import Counter

import pytest

from xmoco_plugin.cli.options import few_labels as options
from xmoco_plugin.downstream import TrainingSet

from ..tool_modules import import_tool

NAMES = [f"{i:03d}.jpg" for i in range(80)]


@pytest.fixture
def tool():
    """What draws the images, of compare and few-labels."""
    return import_tool("share_runs")


def unlabelled(names: list[str]) -> TrainingSet:
    return TrainingSet(names, [], [Counter() for _ in names])


def test_shares_are_nested_rounded_and_have_one_image_at_least(tool):
    rows = {share: tool.draw(unlabelled(NAMES), share, 0) for share in (0.1, 1, 5, 10, 25, 100)}
    assert [len(r) for r in rows.values()] == [1, 1, 4, 8, 20, 80]
    for small, large in zip(list(rows.values()), list(rows.values())[1:], strict=False):
        assert set(small) <= set(large)


def test_a_share_depends_on_seed_and_names_and_on_nothing_else(tool):
    first = tool.draw(unlabelled(NAMES), 10, 0)
    assert {NAMES[row] for row in first} == {
        NAMES[::-1][row] for row in tool.draw(unlabelled(NAMES[::-1]), 10, 0)
    }
    assert tool.draw(unlabelled(NAMES), 10, 1) != first
    # The hash is fixed: the same images on every machine and in every version.
    assert first == [10, 15, 22, 28, 34, 65, 71, 78]


def test_numbers_are_read_and_what_is_out_of_range_is_named():
    assert options.shares("100,1,2.5") == [1.0, 2.5, 100.0]
    assert options.positive("10,20") == [10, 20]
    for wrong in ("", "a", "0", "-1,5", "101", "nan", "5,5"):
        with pytest.raises(Exception, match="names no shares: percentages above 0 and up to 100"):
            options.shares(wrong)
    for wrong in ("", "0", "1.5", "-3"):
        with pytest.raises(Exception, match="whole numbers above 0"):
            options.positive(wrong)
