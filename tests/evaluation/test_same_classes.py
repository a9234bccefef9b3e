# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Two labelled sets mean the same by a number, or it is said what differs."""

from types import SimpleNamespace

import pytest

from xmoco_plugin.evaluation.same_classes import unlike_classes


def named(*classes: str) -> SimpleNamespace:
    return SimpleNamespace(metainfo=dict(classes=classes) if classes else {})


@pytest.mark.parametrize(
    ("known", "asked"),
    [("abc", "abc"), ("abc", "ab"), ("abc", ""), ("", "abc")],
)
def test_names_at_the_same_numbers_fit(known, asked):
    assert unlike_classes(named(*known), named(*asked)) is None


@pytest.mark.parametrize(
    ("known", "asked", "words"),
    [
        ("abc", "bc", "class 0 is 'a' in one and 'b' in the other (only one of them has a)"),
        ("abc", "acb", "class 1 is 'b' in one and 'c' in the other"),
        ("ab", "abc", "class 2 is none in one and 'c' in the other (only one of them has c)"),
    ],
)
def test_what_differs_is_named(known, asked, words):
    assert unlike_classes(named(*known), named(*asked)) == words
