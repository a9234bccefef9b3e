# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Checkpoints: compared with a model, written whole or not at all; :mod:`.weights` reads them."""

import contextlib
import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .untrusted import printable
from .weights import CheckpointError, allow_checkpoint_classes, read_checkpoint

__all__ = [
    "CheckpointError",
    "NotWrittenError",
    "Shape",
    "StateDifference",
    "allow_checkpoint_classes",
    "check_folder",
    "compare_state",
    "describe_difference",
    "read_checkpoint",
    "sha256_of",
    "state_dict_of",
    "write_atomic",
    "write_text",
]

Shape = tuple[int, ...]
FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your quota of the disk is used up"}


class NotWrittenError(OSError):
    """A file could not be written; what stood in its place stands."""

    def __str__(self) -> str:
        return str(self.strerror)  # without Python's [Errno 28]


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

    File and folder are on the disk when this returns: a machine that goes down loses neither.

    Args:
        obj: What to write.
        path: Where to; its folder must exist. An existing file stays until the new one is whole.
        save: Called with ``obj`` and an open binary file. Defaults to ``torch.save``.

    Raises:
        NotWrittenError: The system refuses; names the file, the reason and the way out.
    """
    path = Path(path)
    # The same folder, because only a rename within one file system is atomic.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    made = False
    try:
        with open(temporary, "wb") as file:
            made = True
            (save or torch.save)(obj, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except Exception as error:
        # torch.save and zipfile hide the system's error behind one of their own.
        if (refused := system_error(error)) is None:
            raise
        raise not_written(path, refused) from error
    finally:
        if made:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def written_aside(folder: str | Path, name: str) -> Iterator[str]:
    """A folder for a file that somebody else writes in place; at the end it is moved, whole.

    Args:
        folder: Where the file is to be, which must exist.
        name: The file's, for the error.

    Raises:
        NotWrittenError: The system refuses, here or within.
    """
    folder = Path(folder)
    ending = f".{os.getpid()}.tmp"  # as write_atomic's, for who clears up after a kill
    try:
        with tempfile.TemporaryDirectory(prefix=f".{name}.", suffix=ending, dir=folder) as aside:
            yield aside
            for file in Path(aside).iterdir():
                with open(file, "rb") as written:
                    os.fsync(written.fileno())
                os.replace(file, folder / file.name)
        sync_folder(folder)
    except NotWrittenError:
        raise
    except OSError as error:
        if error.errno is None:
            raise
        raise not_written(folder / name, error) from error


def sync_folder(folder: Path) -> None:
    """Puts the names of a folder on the disk, where the system can do so."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folder
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):  # some network disks
            raise
    finally:
        os.close(descriptor)


def system_error(error: BaseException | None) -> OSError | None:
    """The system's error with a number that another one hides; None where there is none."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error
        error = error.__cause__ or error.__context__
    return None


def not_written(path: str | Path | None, error: OSError) -> NotWrittenError:
    """The error that says which file was not written, why, and what to do.

    Args:
        path: The file; None where nobody knows which.
        error: The system's.
    """
    folder = None if path is None else Path(path).parent
    shown = "a file" if path is None else printable(path)
    number = error.errno
    if number in FULL:
        reason = FULL[number]
        if number == errno.ENOSPC and folder and folder.is_dir():
            reason += f" ({shutil.disk_usage(folder).free / 1e9:.2f} GB free)"
        way = "Make room there; what was written before stands"
    elif number in (errno.EACCES, errno.EPERM):
        reason, way = "no permission", "Become the owner of the folder, or name another one"
    elif number == errno.EROFS:
        reason, way = "the file system is read-only", "Name a folder on another one"
    elif number == errno.ENOENT and folder:
        reason, way = f"{printable(folder)} is gone", "Put it back, or name another folder"
    else:
        reason, way = error.strerror or str(error), "Look at the disk; what was written stands"
    return NotWrittenError(number, f"{shown} cannot be written: {reason}. {way}.")


def check_folder(path: str | Path) -> None:
    """Refuses to make a file's folder anew: who removed or renamed it would look in vain.

    Raises:
        NotWrittenError: The folder is gone.
    """
    if not Path(path).parent.is_dir():
        raise not_written(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))


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
