# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Reads the config of a run as data: the settings in it, and none of the code."""

import ast
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from .files import FileRefusedError, read_text
from .names import printable
from .settings import SettingsRefusedError

LIMIT = (
    1 << 20
)  # bytes of a config (ours): that of a run has 10,000, with ImageNet's classes 40,000
SHOWN = 60  # characters of a line of code that a message shows


class ConfigFile(NamedTuple):
    """A config that was read and not run.

    Attributes:
        config: The settings that are literals: numbers, texts, lists, dicts.
        code: What was left out, 'line 3: import os'.
    """

    config: Config
    code: list[str]


class _NoLiteralError(Exception):
    """An expression that would have to be run."""


def read_config_file(path: str | Path) -> ConfigFile:
    """The settings of a config file, which is parsed and never executed.

    The host writes the config of every run with nothing left to inherit or to compute, so that what
    is read here is what ``Config.fromfile`` would make of it. ``custom_imports`` stays a setting:
    nothing is imported. ``_base_`` and names in braces are not looked up.

    Args:
        path: Of the file.

    Raises:
        FileRefusedError: It is no regular file, too large, or holds no Python; the message lacks
            the path.
    """
    text = read_text(path, LIMIT)
    values, code = parse_config(text)
    return ConfigFile(Config(values, cfg_text=f"{path}\n{text}", filename=str(path)), code)


def read_whole_config(path: str | Path) -> Config:
    """The same of a file in which nothing is code.

    Raises:
        FileRefusedError: As :func:`read_config_file`.
        SettingsRefusedError: Something in it is code; names the line and what to do.
    """
    found = read_config_file(path)
    if found.code:
        raise SettingsRefusedError(
            f"{printable(path)}, {found.code[0]}: what lies in the folder of a run is read as data "
            "and not run, and this is code. Write the value itself there, or, if you trust "
            "whoever wrote it, run the config: tools/train.py CONFIG --resume"
        )
    return found.config


def parse_config(text: str) -> tuple[dict[str, Any], list[str]]:
    """Values by name, and the lines that are left out, of a config's text.

    Raises:
        FileRefusedError: It is no Python.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a compiler says of odd literals
            body = ast.parse(text).body
    except SyntaxError as error:
        place = f"line {error.lineno}: " if error.lineno else ""
        raise FileRefusedError(f"no Python: {place}{printable(error.msg)}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        reason = "nested too deep" if not str(error) or "recursion" in str(error) else str(error)
        raise FileRefusedError(f"no Python that can be read: {printable(reason)}") from None
    values: dict[str, Any] = {}
    code = []
    for node in body:
        if _is_text(node):
            continue
        try:
            if not isinstance(node, ast.Assign) or len(node.targets) != 1:
                raise _NoLiteralError
            (target,) = node.targets
            if not isinstance(target, ast.Name) or target.id in RESERVED:
                raise _NoLiteralError
            value = _value(node.value)
        except (_NoLiteralError, ValueError, TypeError, MemoryError, RecursionError):
            code.append(f"line {node.lineno}: {_source(text, node)}")
        else:
            if not target.id.startswith("__"):  # as the host
                values[target.id] = value
    return values, code


# Of the host's Config, which takes them for its own; and what would be inherited.
RESERVED = {"filename", "text", "pretty_text", "env_variables", "_base_", "_delete_"}


def _is_text(node: ast.stmt) -> bool:
    """Whether it is a text that stands alone: a comment of several lines."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _value(node: ast.expr) -> Any:
    """The value of literals and dict(...) calls, as running them would give it."""
    if isinstance(node, ast.Call):
        return _called(node)
    if isinstance(node, ast.List):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(item) for item in node.elts)
    if isinstance(node, ast.Dict):
        if None in node.keys:  # {**other}
            raise _NoLiteralError
        return {
            ast.literal_eval(key): _value(value)
            for key, value in zip(node.keys, node.values, strict=True)
            if key is not None
        }
    return ast.literal_eval(node)


def _called(node: ast.Call) -> dict:
    """dict(a=1), dict({'a b': 1}): the two forms that the host writes."""
    if not isinstance(node.func, ast.Name) or node.func.id != "dict" or len(node.args) > 1:
        raise _NoLiteralError
    found = _value(node.args[0]) if node.args else {}
    if not isinstance(found, dict) or any(word.arg is None for word in node.keywords):
        raise _NoLiteralError
    return found | {str(word.arg): _value(word.value) for word in node.keywords}


def _source(text: str, node: ast.stmt) -> str:
    line = text.splitlines()[node.lineno - 1 : node.lineno] or [""]
    shown = line[0].strip()
    return printable(shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}...")
