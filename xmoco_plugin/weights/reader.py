# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The one reader of weights: nothing in a file is run, and what cannot be right is refused."""

import re
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from ..untrusted import printable
from .allowed import allow_checkpoint_classes
from .container import check_file, is_zip
from .download import shown_url
from .errors import CheckpointError
from .numbers import check_claims, check_weights, weights_of


def read_checkpoint(
    path: str | Path,
    map_location: str | torch.device | Callable = "cpu",
    mmap: bool = False,
) -> dict:
    """Read a local checkpoint without ever running code it carries.

    Args:
        path: File written by ``torch.save``, or one in safetensors' format that is named
            .safetensors; ``~`` is expanded.
        map_location: As for ``torch.load``. Defaults to the CPU.
        mmap: Map the weights instead of reading them: they take no memory of their own.

    Returns:
        The checkpoint as stored, usually with 'state_dict' and 'meta'; of a safetensors file, both,
        'meta' being the texts of its header.

    Raises:
        CheckpointError: The file is missing, empty, cut off, a text file, no checkpoint, needs
            code to be read (the message names the class), holds something else than a dict, or
            weights that cannot be right: not finite, integers, only zeros.
    """
    if "://" in str(path):
        raise CheckpointError(f"{shown_url(str(path))} is no file: fetch it and name its path.")
    path = Path(path).expanduser()
    shown = printable(path)
    size = check_file(path)
    if path.suffix == ".safetensors":
        loaded = _read_safetensors(path)
    else:
        loaded = _read_torch(path, size, map_location, mmap)
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{shown} holds a {type(loaded).__name__} and no dict of weights.")
    try:
        check_claims(loaded, size)
        for state, among_others in weights_of(loaded):
            check_weights(state, among_others)
    except CheckpointError as error:
        raise CheckpointError(f"{shown}: {error} Nothing was loaded.") from None
    return loaded


def require_safetensors() -> Any:
    """Import safetensors, which only this format needs.

    Raises:
        CheckpointError: It is not installed; with the command that installs it.
    """
    try:
        import safetensors.torch
    except ImportError:
        raise CheckpointError(
            "Files named .safetensors need the package safetensors: pip install safetensors"
        ) from None
    module: Any = safetensors.torch
    module.SafetensorError = safetensors.SafetensorError
    return module


def _read_safetensors(path: Path) -> dict:
    safetensors = require_safetensors()
    try:
        with safetensors.safe_open(path, "pt") as file:
            meta = file.metadata() or {}
        return {"state_dict": safetensors.load_file(path), "meta": dict(meta)}
    # Types that torch lacks are a KeyError, sizes that are lies a MemoryError.
    except (OSError, ValueError, LookupError, MemoryError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{printable(path)} is no whole safetensors file: {_first_line(error)}."
        ) from None


def _read_torch(path: Path, size: int, map_location: Any, mmap: bool) -> Any:
    shown = printable(path)
    allow_checkpoint_classes()
    try:
        return torch.load(
            path,
            map_location=map_location,
            weights_only=True,
            mmap=True if mmap and is_zip(path) else None,
        )
    except UnpicklingError as error:
        reason = str(error).rsplit("WeightsUnpickler error:", 1)[-1].strip()
        name = re.search(r"GLOBAL (\S+)|function <(?:\S+ )*?function (\S+)>|but got (\S+)", reason)
        if name is None:
            raise CheckpointError(
                f"{shown} is damaged, or was not written by torch.save: {_first_line(reason)}."
            ) from None
        culprit = next(group for group in name.groups() if group)
        raise CheckpointError(
            f"{shown} needs code to be read: it asks for {printable(culprit)}, which could do "
            "anything on this machine, so nothing was loaded. If you trust whoever made it, save "
            "its 'state_dict' alone to a new file where it was made, and use that one."
        ) from None
    # A bent file leads torch to whatever error; Ctrl-C is none of them.
    except Exception as error:
        raise CheckpointError(
            f"{shown} is damaged or cut off ({size:,} bytes): {_first_line(error)}. "
            "Copy it again, or use an older checkpoint."
        ) from None


def _first_line(error: object) -> str:
    text = str(error).strip() or type(error).__name__
    return printable(text.splitlines()[0].split(". ")[0][:200].rstrip("."))
