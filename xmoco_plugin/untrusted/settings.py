# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Settings in a config's text: parsed, never executed."""

import ast
from typing import Any


class SettingsRefusedError(ValueError):
    """Settings that nothing is built from, with the setting at fault in the message."""


def read_settings(text: str) -> dict[str, Any]:
    """The literal settings in a config's text, which is parsed and never executed.

    Args:
        text: Python source such as mmengine stores in ``meta['cfg']``.

    Returns:
        Values by name; what is no literal is None. Empty where the text is no Python.
    """
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError, RecursionError):
        return {}
    return {
        target.id: _literal(node.value)
        for node in body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _literal(node: ast.expr) -> Any:
    """The value of an expression of literals and dict(...) calls; None for anything else."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {word.arg: _literal(word.value) for word in node.keywords if word.arg}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {ast.unparse(k).strip("'"): _literal(v) for k, v in pairs if k is not None}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None
