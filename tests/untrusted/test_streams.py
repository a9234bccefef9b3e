# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Whatever is printed or logged, no control character of a name reaches a terminal or a file."""

import io
import logging
import sys

import pytest

from xmoco_plugin.cli import exits
from xmoco_plugin.untrusted import FileRefusedError, for_spreadsheet, printable_output
from xmoco_plugin.untrusted.streams import PrintableStream, escape_controls

NAME = "a\x1b]0;title\x07\x1b[2J\r\udcff\u202e\x9b31m.png"
SHOWN = r"a\x1b]0;title\x07\x1b[2J\x0d\xff\u202e\x9b31m.png".replace(r"\x0d", r"\r")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_controls_are_escaped_and_lines_and_tabs_stay():
    assert escape_controls(f"one\t{NAME}\ntwo") == f"one\t{SHOWN}\ntwo"
    plain = "größe 日本\n\t|"
    assert escape_controls(plain) is plain


def test_a_terminal_keeps_what_moves_its_cursor_and_nothing_else():
    text = "\r\x1b[2K\x1b[32mgreen\x1b[0m\x1b[?25l"
    assert escape_controls(text, terminal=True) == text
    assert escape_controls("\x1b]0;title\x07\x1bc", terminal=True) == r"\x1b]0;title\x07\x1bc"
    stream = Terminal()
    print(text, file=PrintableStream(stream))
    assert stream.getvalue() == f"{text}\n"


def test_inside_the_streams_and_every_log_are_escaped(capsys, tmp_path):
    logger = logging.getLogger("some.host")
    handler = logging.FileHandler(tmp_path / "log", encoding="utf-8")
    logger.addHandler(handler)
    before = sys.stdout, sys.stderr, logging.getLogRecordFactory()
    with printable_output():
        print(NAME)
        print(NAME, file=sys.stderr)
        logger.warning("skipped %s: %d", NAME, 5)
        logger.warning("100 %s" % "%")  # noqa: UP031  (a text that is no format)
    logger.removeHandler(handler)
    handler.close()
    assert (sys.stdout, sys.stderr, logging.getLogRecordFactory()) == before
    said = capsys.readouterr()
    assert said.out == f"{SHOWN}\n"
    assert f"{SHOWN}\n" in said.err
    assert (tmp_path / "log").read_text("utf-8") == f"skipped {SHOWN}: 5\n100 %\n"


@pytest.mark.parametrize("start", "=+-@'")
def test_a_cell_that_would_be_run_is_text(start):
    assert for_spreadsheet(f"{start}1") == f"'{start}1"
    assert for_spreadsheet("a=1") == "a=1"


def test_an_error_moves_no_cursor_of_a_terminal(monkeypatch):
    def fails():
        raise FileRefusedError(f"{NAME}\nand more")

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    assert exits.run(fails) == exits.USER_ERROR
    assert terminal.getvalue() == f"error: {SHOWN}\nand more\n"
