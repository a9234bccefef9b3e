# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Settings in a config's text: parsed, never executed."""

import ast
import re
from dataclasses import dataclass
from typing import Any

# Above these a text is not parsed (ours): configs with the names of thousands of classes have a
# tenth of it, and what the text costs in memory is bounded.
TEXT_LIMIT = 4 << 20  # characters
TOKEN_LIMIT = 500_000
DEPTH_LIMIT = 64  # brackets within brackets

TOKENS = re.compile(
    r"""(?P<space>[ \t\f]+|\\\r?\n|\#[^\n]*)
    |(?P<line>\r?\n)
    |(?P<text>(?:[rR]?[bB]|[bB]?[rR]|[uU])?(?:
        '{3}(?:[^\\']|\\.|'(?!''))*'{3}
        |"{3}(?:[^\\"]|\\.|"(?!""))*"{3}
        |'(?:[^\\'\n]|\\.)*'
        |"(?:[^\\"\n]|\\.)*"
    ))
    |(?P<number>(?:0[xXoObB][\da-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?)[jJ]?)
    |(?P<name>[^\W\d]\w*)
    |(?P<sign>[^\w\s'"\x00-\x1f\x7f])
    """,
    re.VERBOSE | re.DOTALL,
)
CLOSING = {"(": ")", "[": "]", "{": "}"}
CONSTANTS = {
    "True": True,
    "False": False,
    "None": None,
    # What mmengine writes for these numbers, and cannot read back itself.
    "inf": float("inf"),
    "nan": float("nan"),
}
END = ("line", "")


class SettingsRefusedError(ValueError):
    """Settings that nothing is built from, with the setting at fault in the message."""


@dataclass(frozen=True)
class NotLiteral:
    """Stands for an expression that is no literal: it was not evaluated."""

    text: str


class _UnreadableError(ValueError):
    """The text is no Python, or too large."""


def read_settings(text: Any) -> dict[str, Any]:
    """The literal settings in a config's text, which is parsed and never executed.

    Read are assignments at the margin of literals, ``dict(...)`` of them, ``inf`` and ``nan``:
    all that mmengine writes. Lists stay lists and tuples tuples.

    Args:
        text: Python source such as mmengine stores in ``meta['cfg']``; anything else has none.

    Returns:
        Values by name; :class:`NotLiteral` where an expression would have to be evaluated. Empty
        where the text is no Python, or is too large or too deep (see the limits above).
    """
    if not isinstance(text, str) or len(text) > TEXT_LIMIT:
        return {}
    try:
        return _Parser(text).settings()
    except _UnreadableError:
        return {}


class _Parser:
    """Reads tokens one by one; its depth, and so the interpreter's, has a limit."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.kinds: list[str] = []
        self.words: list[str] = []
        self.starts: list[int] = []
        place, depth = 0, 0
        for token in iter(TOKENS.scanner(text).match, None):
            kind, word = token.lastgroup or "", token[0]
            place = token.end()
            if word in CLOSING:
                depth += 1
            elif kind == "sign" and word in ")]}":
                depth -= 1
            # Inside of brackets an end of line means nothing.
            if kind == "space" or (kind == "line" and depth):
                continue
            if depth > DEPTH_LIMIT or len(self.kinds) > TOKEN_LIMIT:
                raise _UnreadableError
            self.kinds.append(kind)
            self.words.append(word)
            self.starts.append(token.start())
        if place != len(text) or depth:
            raise _UnreadableError
        self.kinds.append(END[0])
        self.words.append(END[1])
        self.starts.append(len(text))
        self.at = 0

    def settings(self) -> dict[str, Any]:
        """Walks over the statements, and reads the assignments among them."""
        found: dict[str, Any] = {}
        while self.at < len(self.kinds):
            names = []
            margin = self._at_margin()
            while margin and self.kinds[self.at] == "name" and self._assigns():
                names.append(self.words[self.at])
                self.at += 2
            if names:
                value = self._value(("\n", ";"))
                found.update(dict.fromkeys(names, value))
            self._skip(("\n", ";"))
            self.at += 1
        return found

    def _at_margin(self) -> bool:
        start = self.starts[self.at]
        return start == 0 or self.text[start - 1] == "\n" or self._behind_semicolon()

    def _behind_semicolon(self) -> bool:
        if self.at == 0 or self.words[self.at - 1] != ";":
            return False
        line = self.text.rfind("\n", 0, self.starts[self.at]) + 1
        return self.text[line : line + 1] not in (" ", "\t", "\f")

    def _assigns(self) -> bool:
        after = self.words[self.at + 1 : self.at + 3]
        return after[:1] == ["="] and after[1:] != ["="]

    def _ends(self, stops: tuple[str, ...]) -> bool:
        if "\n" in stops and self.kinds[self.at] == "line":
            return True
        return self.kinds[self.at] == "sign" and self.words[self.at] in stops

    def _skip(self, stops: tuple[str, ...]) -> None:
        """Goes on to where this value ends, over whatever is in brackets."""
        depth = 0
        while self.at < len(self.kinds) - 1:
            if not depth and self._ends(stops):
                return
            if self.kinds[self.at] == "sign":
                word = self.words[self.at]
                depth += (word in CLOSING) - (word in ")]}")
                if depth < 0:
                    raise _UnreadableError
            self.at += 1

    def _value(self, stops: tuple[str, ...]) -> Any:
        """The value that ends at one of these signs."""
        start = self.at
        try:
            value = self._literal()
            if self._ends(stops):
                return value
        except _NoLiteralError:
            pass
        self.at = start
        self._skip(stops)
        return NotLiteral(self.text[self.starts[start] : self.starts[self.at]].strip()[:200])

    def _literal(self) -> Any:
        kind, word = self.kinds[self.at], self.words[self.at]
        if kind == "text":
            return self._text()
        self.at += 1
        if kind == "number":
            return _number(word)
        if kind == "name" and word in CONSTANTS:
            return CONSTANTS[word]
        if kind == "name" and word in ("dict", "set") and self.words[self.at] == "(":
            self.at += 1
            return self._call(word)
        if kind == "sign" and word in "+-":
            after, sign = self.kinds[self.at], -1 if word == "-" else 1
            if after == "number" or (after == "name" and self.words[self.at] in ("inf", "nan")):
                return sign * self._literal()
        if word == "[":
            return self._items("]")[0]
        if word == "(":
            items, commas = self._items(")")
            return tuple(items) if commas or not items else items[0]
        if word == "{":
            return self._braces()
        raise _NoLiteralError

    def _text(self) -> str | bytes:
        parts: list[Any] = []
        while self.kinds[self.at] == "text":  # texts side by side are one
            try:
                parts.append(ast.literal_eval(self.words[self.at]))
            except (ValueError, SyntaxError, MemoryError):
                raise _NoLiteralError from None
            self.at += 1
        if len({type(part) for part in parts}) > 1:
            raise _NoLiteralError
        return type(parts[0])().join(parts)

    def _items(self, close: str) -> tuple[list, int]:
        """The items up to a closing bracket, and the number of commas."""
        items, commas = [], 0
        while not self._ends((close,)):
            items.append(self._value((",", close)))
            if self._ends((",",)):
                commas += 1
                self.at += 1
            elif not self._ends((close,)):
                raise _UnreadableError
        self.at += 1
        return items, commas

    def _call(self, name: str) -> Any:
        """What dict(...) or set() makes."""
        found: dict[Any, Any] = {}
        while not self._ends((")",)):
            if name == "dict" and self.kinds[self.at] == "name" and self._assigns():
                key = self.words[self.at]
                self.at += 2
                found[key] = self._value((",", ")"))
            else:
                # mmengine's spelling of keys that are no names: dict({'a.b': 1})
                inner = self._value((",", ")"))
                if name != "dict" or not isinstance(inner, dict):
                    raise _NoLiteralError
                found.update(inner)
            if self._ends((",",)):
                self.at += 1
        self.at += 1
        return found if name == "dict" else set()

    def _braces(self) -> dict | set:
        pairs, items = {}, []
        while not self._ends(("}",)):
            key = self._value((":", ",", "}"))
            try:
                hash(key)
            except TypeError:
                raise _NoLiteralError from None
            if self._ends((":",)):
                self.at += 1
                pairs[key] = self._value((",", "}"))
            else:
                items.append(key)
            if self._ends((",",)):
                self.at += 1
        self.at += 1
        if (pairs and items) or any(isinstance(key, NotLiteral) for key in (*pairs, *items)):
            raise _NoLiteralError
        return set(items) if items else pairs


class _NoLiteralError(ValueError):
    """What stands here would have to be evaluated."""


def _number(word: str) -> int | float | complex:
    try:
        return ast.literal_eval(word)
    except (ValueError, SyntaxError, MemoryError):  # 4,301 digits, 0123
        raise _NoLiteralError from None
