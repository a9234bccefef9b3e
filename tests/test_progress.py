# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a long pass shows of itself."""

import io
import sys

import pytest

from xmoco_plugin import progress
from xmoco_plugin.progress import watched


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_the_items_come_as_they_are(monkeypatch, terminal):
    monkeypatch.setattr(sys, "stdout", Terminal() if terminal else io.StringIO())
    assert list(watched(range(5), "numbers", show=True)) == list(range(5))
    assert list(watched(iter("ab"), "letters", show=True, total=2)) == ["a", "b"]


def test_a_terminal_has_a_bar_that_is_gone_at_the_end(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", Terminal())
    list(watched(range(3), "numbers", show=True))
    shown = sys.stdout.getvalue()
    assert "numbers" in shown
    assert shown.endswith("\x1b[2K")  # the line is erased, the cursor back on it
    for still in (dict(show=False), dict(show=True, least=4)):
        monkeypatch.setattr(sys, "stdout", Terminal())
        list(watched(range(3), "numbers", **still))
        assert sys.stdout.getvalue() == ""


def test_without_a_terminal_a_long_pass_has_a_line_now_and_then(monkeypatch, capsys):
    list(watched(range(3), "numbers", show=True))
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.0)
    list(watched(range(3), "numbers", show=True))
    assert capsys.readouterr().err == "numbers: 1 of 3\n"
    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.0)
    list(watched(range(3), "numbers", show=True))
    assert capsys.readouterr().err == "".join(f"numbers: {i} of 3\n" for i in (1, 2, 3))
