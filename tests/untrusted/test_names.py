# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A printed name moves no cursor, breaks no line and stands for one file only."""

import os

import pytest

from xmoco_plugin.untrusted import printable


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"plain name.png", "plain name.png"),
        ("größe 日本.png".encode(), "größe 日本.png"),
        (b"\x1b[2Jred", r"\x1b[2Jred"),
        (b"two\nlines\r\t", r"two\nlines\r\t"),
        (b"\xff\xfe.png", r"\xff\xfe.png"),
        ("\u202egnp.exe".encode(), r"\u202egnp.exe"),
        ("\x9b31m".encode(), r"\x9b31m"),
        (rb"a\nb", r"a\\nb"),
        (rb"C:\q", r"C:\q"),
    ],
)
def test_a_name_is_text_and_nothing_else(name, shown):
    assert printable(os.fsdecode(name)) == printable(name) == shown


def test_unlike_names_are_printed_unlike():
    names = [b"a\nb", rb"a\nb", rb"a\\nb", b"\xff", rb"\xff", "ÿ".encode(), b"\\", b"\\\\"]
    assert len({printable(name) for name in names}) == len(names)
