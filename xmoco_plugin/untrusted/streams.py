# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The last step before a terminal or a log: no control character of a name gets through.

Where a name is printed it is made :func:`printable` there, line breaks included. This is for what
was overlooked, and for the host's own lines: it cannot tell a name's line break from the text's.
"""

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .names import escaped

# Controls, marks that turn the direction of writing, separators of lines, bytes that are no UTF-8.
CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# On a terminal rich moves the cursor, colours and rewrites lines: such sequences, whole.
OF_A_TERMINAL = re.compile(rf"(?:\x1b\[[0-9;?]*[A-Za-z]|\r)|({CONTROLS.pattern})")


def escape_controls(text: str, terminal: bool = False) -> str:
    r"""Text with its control characters as ``\x1b``; line breaks and tabs stay.

    Args:
        text: Any.
        terminal: Whether a carriage return and sequences that colour or move the cursor stay too.
    """
    text = text.replace("\r\n", "\n")
    if not CONTROLS.search(text):
        return text
    if terminal:
        return OF_A_TERMINAL.sub(lambda m: escaped(m[1]) if m[1] else m[0], text)
    return CONTROLS.sub(lambda m: escaped(m[0]), text)


class PrintableStream:
    """A stream of text whose writer need not think of control characters."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.terminal = bool(getattr(stream, "isatty", lambda: False)())

    def write(self, text: str) -> int:
        """Writes; returns how long the text was."""
        self.stream.write(escape_controls(text, self.terminal))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Writes one by one."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


@contextmanager
def printable_output() -> Iterator[None]:
    """Inside, stdout, stderr and the lines of every log are escaped as above."""
    out, err, factory = sys.stdout, sys.stderr, logging.getLogRecordFactory()

    def record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        made = factory(*args, **kwargs)
        try:
            text = made.getMessage()
        except Exception:  # logging itself says what is wrong with it
            return made
        if CONTROLS.search(text):
            made.msg, made.args = escape_controls(text), None
        return made

    sys.stdout, sys.stderr = PrintableStream(out), PrintableStream(err)
    logging.setLogRecordFactory(record)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
        logging.setLogRecordFactory(factory)
