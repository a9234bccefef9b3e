# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Checkpoints: read without running code, compare with a model, written whole or not at all."""

import hashlib
import os
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

try:  # numpy 2 moved the private package; pickles of either version name either place
    from numpy._core import multiarray
except ImportError:
    from numpy.core import multiarray  # type: ignore[no-redef]

Shape = tuple[int, ...]


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with the reason and the way out in its message."""


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


def allow_checkpoint_classes() -> None:
    """Let ``torch.load(weights_only=True)`` build the few classes an mmengine checkpoint holds.

    These are ``HistoryBuffer`` (the logged scalars) and numpy's arrays and scalars, under the
    module names of numpy 1 and of numpy 2. All of them only hold data. A ``HistoryBuffer`` also
    asks for ``getattr``, to fetch its own four statistics; with the real one a file could reach
    anything, so that name gets a stand-in that fetches those four and nothing else. May be called
    twice.
    """
    allowed: list[Any] = [HistoryBuffer, np.ndarray, np.dtype]
    # A pickled dtype is built through its own class, for example numpy.dtypes.Float64DType.
    allowed += {type(np.dtype(code)) for code in "?bhilqBHILQefdFDSU"}
    named = [(item, f"{item.__module__}.{item.__qualname__}") for item in allowed]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        named += [
            (getattr(multiarray, name), f"{module}.{name}") for name in ("_reconstruct", "scalar")
        ]
    named.append((_history_statistic, "builtins.getattr"))
    # Pairs throughout: the maintained mmengine takes its own, unnamed entries back after each
    # load, and would take ours with them.
    torch.serialization.add_safe_globals(named)


def _history_statistic(owner: Any, name: Any) -> Callable:
    """Stands for ``getattr`` while a checkpoint is read."""
    if owner is HistoryBuffer and name in ("min", "max", "current", "mean"):
        return HistoryBuffer.__dict__[name]
    raise UnpicklingError(f"GLOBAL getattr of {getattr(owner, '__name__', 'something')}, {name!r}")


def read_checkpoint(
    path: str | Path,
    map_location: str | torch.device | Callable = "cpu",
    mmap: bool = False,
) -> dict:
    """Read a local checkpoint without ever running code it carries.

    Args:
        path: File written by ``torch.save``; ``~`` is expanded.
        map_location: As for ``torch.load``. Defaults to the CPU.
        mmap: Map the weights instead of reading them: fast when only keys and shapes matter.

    Returns:
        The checkpoint as stored, usually with 'state_dict' and 'meta'.

    Raises:
        CheckpointError: The file is missing, empty, cut off, a text file, no checkpoint, needs
            code to be read (the message names the class), or holds something else than a dict.
    """
    path = Path(path).expanduser()
    allow_checkpoint_classes()
    _check_file(path)
    try:
        loaded = torch.load(
            path,
            map_location=map_location,
            weights_only=True,
            mmap=True if mmap and zipfile.is_zipfile(path) else None,
        )
    except UnpicklingError as error:
        reason = str(error).rsplit("WeightsUnpickler error:", 1)[-1].strip()
        name = re.search(r"GLOBAL (\S+)|function <(?:\S+ )*?function (\S+)>|but got (\S+)", reason)
        if name is None:
            raise CheckpointError(
                f"{path} is damaged, or was not written by torch.save: {_first_line(reason)}."
            ) from None
        culprit = next(group for group in name.groups() if group)
        raise CheckpointError(
            f"{path} needs code to be read: it asks for {culprit}, which could do anything on "
            "this machine, so nothing was loaded. If you trust whoever made it, save its "
            "'state_dict' alone to a new file where it was made, and use that one."
        ) from None
    except (
        RuntimeError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        AttributeError,
        TypeError,
        AssertionError,
        OSError,
        zipfile.BadZipFile,
    ) as error:
        raise CheckpointError(
            f"{path} is damaged or cut off ({path.stat().st_size:,} bytes): {_first_line(error)}. "
            "Copy it again, or use an older checkpoint."
        ) from None
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} holds a {type(loaded).__name__} and no dict of weights.")
    return loaded


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


def _check_file(path: Path) -> None:
    """Say in plain words what is wrong with a file that cannot be a checkpoint."""
    if not path.exists():
        raise CheckpointError(f"There is no checkpoint {path}.")
    if not path.is_file():
        raise CheckpointError(f"{path} is a folder and no checkpoint file.")
    if path.stat().st_size == 0:
        raise CheckpointError(f"{path} is empty (0 bytes). Use an older checkpoint.")
    with open(path, "rb") as file:
        head = file.read(512)
    if head.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path} is cut off: it ends after {path.stat().st_size:,} bytes, before its table "
                "of contents. Copy it again, or use an older checkpoint."
            )
        return
    # A cut through the last character is no reason to call a text binary.
    text = head.decode("utf-8", "replace").rstrip("\ufffd")
    if "\ufffd" not in text and all(c.isprintable() or c.isspace() for c in text):
        raise CheckpointError(
            f'{path} is a text file that begins "{text.split(chr(10))[0][:60]}" and no checkpoint: '
            "perhaps an error page, or a pointer to a file that is kept elsewhere."
        )


def _shape(value: Any) -> Shape:
    return tuple(value.shape) if hasattr(value, "shape") else tuple(value or ())


def _first_line(error: object) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0].split(". ")[0][:200].rstrip(".")
