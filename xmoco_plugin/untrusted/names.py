# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Names of files and classes as text that may be printed: they are bytes, and anybody's."""

import os


def printable(name: str | os.PathLike | bytes) -> str:
    r"""A name that a terminal, a log or a table takes as text and nothing else.

    Control characters, line breaks, bytes that are no UTF-8 and marks that turn the direction of
    writing become escapes such as ``\x1b``, ``\n``, ``\xff`` and ``\u202e``; a backslash before
    one of ``nrtxuU\\`` is doubled, so that no name looks like another one's escape.
    """
    text = os.fsdecode(name)
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped(text, place) for place in range(len(text)))


def _escaped(text: str, place: int) -> str:
    character = text[place]
    if character == "\\":
        return "\\\\" if text[place + 1 : place + 2] in tuple("nrtxuU\\") else character
    if character.isprintable():
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte, as the file system's names carry it
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
