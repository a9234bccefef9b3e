# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is said when the images are others than when the run began."""

import pytest

from xmoco_plugin.pretraining import PretrainError, Scan, compare_with_list, write_list


def scan(images: str, **bad: str) -> Scan:
    """Images a, b, ... whose digest is their letter's case; and those that cannot be read."""
    return Scan(
        good=[name.lower() for name in images],
        digests=["01"[name.isupper()] * 32 for name in images],
        bad=list(bad.items()),
    )


def told(folder, before: Scan, now: Scan) -> str:
    write_list(before, folder)
    with pytest.raises(PretrainError) as error:
        compare_with_list(now, folder)
    return str(error.value)


def test_an_image_that_cannot_be_read_any_more_is_not_gone_and_its_reason_is_told(tmp_path):
    message = told(tmp_path, scan("abc"), scan("a", b="the file is empty (0 bytes)"))
    assert "0 new, 1 gone, 0 changed, 1 unreadable" in message
    assert "(c is gone; b is unreadable: the file is empty (0 bytes))" in message


@pytest.mark.parametrize(
    ("now", "bad", "named"),
    [
        ("Abcxyz", "", ["a is changed", "x is new"]),
        ("Bcwxyz", "", ["a is gone", "b is changed", "w is new"]),
        ("BCwxyz", "d", ["a is gone", "b is changed", "d is unreadable: cut", "w is new"]),
        ("abcwxyz", "", ["w is new", "x is new", "y is new"]),
    ],
)
def test_each_way_of_differing_is_named_with_an_image_at_least(now, bad, named, tmp_path):
    first = "abcd" if bad else "abc"
    message = told(tmp_path, scan(first), scan(now, **dict.fromkeys(bad, "cut")))
    assert sorted(message.split("(")[1].split(")")[0].split("; ")) == named


def test_a_file_that_could_never_be_read_is_no_difference(tmp_path):
    write_list(scan("abc", d="cut"), tmp_path)
    compare_with_list(scan("abc", d="cut", e="empty"), tmp_path)
