# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Reads JSON that anybody may have written: bounded in bytes and depth, its numbers in range."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .files import TEXT_LIMIT, FileRefusedError, read_regular

# Where a number may lie outside a float's range; a hit costs time, nothing else.
_SUSPECT = re.compile(r"[0-9]{309}|[0-9.][eE]\+?[0-9]{3}")
SHOWN = 40  # characters of a number that a message shows
KINDS = {
    dict: "an object",
    list: "a list",
    str: "a text",
    bool: "true or false",
    type(None): "null",
}


def read_json(path: str | Path, limit: int = TEXT_LIMIT, finite: bool = True) -> Any:
    """Reads a file of JSON.

    Args:
        path: Of the file.
        limit: Bytes it may have.
        finite: Whether NaN, infinities and numbers beyond a float's range are refused. Without it
            they are taken, and an integer beyond the range is infinite.

    Returns:
        Dicts, lists, texts, finite numbers, booleans, None.

    Raises:
        FileRefusedError: As :func:`open_regular`; or it is no JSON, nested too deep, or holds such
            a number. The message names the place and not the path.
    """
    return parse_json(read_regular(path, limit), finite)


def read_json_object(
    path: str | Path, limit: int = TEXT_LIMIT, finite: bool = True
) -> dict[str, Any]:
    """Reads a file of JSON that must be an object.

    Raises:
        FileRefusedError: As :func:`read_json`; or it is a list, a number, null ...
    """
    found = read_json(path, limit, finite)
    if not isinstance(found, dict):
        kind = KINDS.get(type(found), "a number")
        raise FileRefusedError(f"not what it should be: {kind}, not an object")
    return found


def parse_json(content: str | bytes, finite: bool = True) -> Any:
    """Parses JSON as :func:`read_json` does.

    Raises:
        FileRefusedError: As there.
    """
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
    except UnicodeDecodeError as error:
        raise FileRefusedError(f"no JSON: byte {error.start:,} is not UTF-8") from None
    number: Callable[[str], float] = _finite if finite else float
    hooks: dict[str, Any] = dict(parse_constant=number)
    if _SUSPECT.search(text):
        hooks |= dict(parse_int=lambda digits: _integer(digits, finite), parse_float=number)
    try:
        return json.loads(text, **hooks)
    except RecursionError:
        raise FileRefusedError("no JSON that can be read: it is nested too deep") from None
    except json.JSONDecodeError as error:
        what = "it is empty" if not text.strip() else error.msg
        raise FileRefusedError(
            f"no JSON: {what}, line {error.lineno}, column {error.colno}"
        ) from None
    except MemoryError:
        raise FileRefusedError("no JSON that can be read: it does not fit the memory") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        shown = text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text):,} characters)"
        raise FileRefusedError(f"the number {shown} is not finite or too large")
    return value


def _integer(digits: str, finite: bool) -> float:
    value = _finite(digits) if finite else float(digits)
    # Python refuses to turn thousands of digits into an integer; a float's range has 309.
    return int(digits) if math.isfinite(value) else value
