# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Checkpoints: compared with a model, written whole or not at all; :mod:`.weights` reads them."""

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .weights import CheckpointError, allow_checkpoint_classes, read_checkpoint

__all__ = [
    "CheckpointError",
    "Shape",
    "StateDifference",
    "allow_checkpoint_classes",
    "compare_state",
    "describe_difference",
    "read_checkpoint",
    "sha256_of",
    "state_dict_of",
    "write_atomic",
    "write_text",
]

Shape = tuple[int, ...]


class StateDifference(NamedTuple):
    """How a checkpoint's weights differ from a model's.

    Attributes:
        missing: Keys of the model that the checkpoint lacks.
        unexpected: Keys of the checkpoint that the model lacks.
        mismatched: (key, shape in the model, shape in the checkpoint) where the shapes differ.
    """

    missing: list[str]
    unexpected: list[str]
    mismatched: list[tuple[str, Shape, Shape]]


def state_dict_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The weights in a checkpoint, by key, as the host will load them.

    Args:
        checkpoint: With a 'state_dict' entry, or the weights themselves.

    Returns:
        Weights without the prefix 'module.' that a wrapped model leaves.

    Raises:
        CheckpointError: 'state_dict' is no dict.
    """
    state = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state, Mapping):
        raise CheckpointError(f"'state_dict' is a {type(state).__name__} and no dict of weights.")
    return {re.sub(r"^module\.", "", key): value for key, value in state.items()}


def compare_state(
    model_state: Mapping[str, Any], checkpoint_state: Mapping[str, Any]
) -> StateDifference:
    """Compare keys and shapes of a model with those of a checkpoint.

    Args:
        model_state: Tensors or shapes by key.
        checkpoint_state: Tensors or shapes by key, as from :func:`state_dict_of`.

    Returns:
        The differences. ``num_batches_tracked`` never counts as missing, as in the host.
    """
    missing = [
        key
        for key in model_state
        if key not in checkpoint_state and "num_batches_tracked" not in key
    ]
    unexpected = [key for key in checkpoint_state if key not in model_state]
    mismatched = []
    for key, value in model_state.items():
        if key in checkpoint_state:
            ours, theirs = _shape(value), _shape(checkpoint_state[key])
            if ours != theirs:
                mismatched.append((key, ours, theirs))
    return StateDifference(missing, unexpected, mismatched)


def describe_difference(difference: StateDifference, limit: int = 10) -> str:
    """A readable text of a difference: the count and the first ``limit`` of each kind.

    Args:
        difference: As from :func:`compare_state`.
        limit: How many keys of a kind are named. Defaults to 10 (ours).

    Returns:
        Several lines, or an empty text where nothing differs.
    """
    shapes = [
        f"{key}: checkpoint {theirs}, model {ours}" for key, ours, theirs in difference.mismatched
    ]
    lines: list[str] = []
    for title, entries in (
        ("of another shape", shapes),
        ("in the model only", difference.missing),
        ("in the checkpoint only", difference.unexpected),
    ):
        if entries:
            lines.append(f"  {len(entries):,} {title}:")
            lines += [f"    {entry}" for entry in entries[:limit]]
            if len(entries) > limit:
                lines.append(f"    ... and {len(entries) - limit:,} more")
    return "\n".join(lines)


def write_atomic(obj: Any, path: str | Path, save: Callable[[Any, Any], Any] | None = None) -> None:
    """Write a file so that it is never seen half written, whatever happens in between.

    Args:
        obj: What to write.
        path: Where to; its folder must exist. An existing file stays until the new one is whole.
        save: Called with ``obj`` and an open binary file. Defaults to ``torch.save``.
    """
    path = Path(path)
    # The same folder, because only a rename within one file system is atomic.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            (save or torch.save)(obj, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text, in which names of files may stand, whole or not at all."""
    content = text.encode("utf-8", "surrogateescape")
    write_atomic(content, path, save=lambda data, file: file.write(data))


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(Path(path).expanduser(), "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _shape(value: Any) -> Shape:
    return tuple(value.shape) if hasattr(value, "shape") else tuple(value or ())
