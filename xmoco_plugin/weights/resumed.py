# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a training goes on from: its state must be one, and gives the host no orders."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from ..untrusted import printable
from .errors import CheckpointError
from .numbers import check_optimizer

FORGOTTEN = object()
HUB = {"log_scalars": Mapping, "runtime_info": Mapping, "resumed_keys": Mapping}


def check_resumable(checkpoint: Mapping[Any, Any]) -> None:
    """Refuses a checkpoint that no training can go on from.

    Raises:
        CheckpointError: It is no training's, or its optimizer is not finite.
    """
    meta, hub = checkpoint.get("meta"), checkpoint.get("message_hub")
    done = [meta.get(key) if isinstance(meta, Mapping) else None for key in ("epoch", "iter")]
    seed = meta.get("seed") if isinstance(meta, Mapping) else None
    if (
        not all(type(number) is int and number >= 0 for number in done)
        or not isinstance(seed, (int, type(None)))
        or not isinstance(hub, Mapping)
        or not all(isinstance(hub.get(key), kind) for key, kind in HUB.items())
    ):
        raise CheckpointError(
            "it is not what a training stores (epoch, iterations, logged scalars), so none can go "
            "on from it. To start from its weights: load_from=FILE, resume=False."
        )
    check_optimizer(checkpoint)


def without_orders(checkpoint: dict, folder: Path) -> dict:
    """A checkpoint without what the host would run, read or delete when it goes on from it.

    mmengine runs the config in ``meta['config']`` as Python, and reads and removes the files whose
    paths the message hub holds. A run may have been moved or copied, or be anybody's, so of a path
    only the name counts: it becomes the file of that name beside the checkpoint, or is forgotten.

    Args:
        checkpoint: As read; left as it is.
        folder: Of its file, where the run keeps its checkpoints.

    Returns:
        A copy of the outer dicts; the weights are the same.
    """
    checkpoint = dict(checkpoint)
    meta, hub = checkpoint.get("meta"), checkpoint.get("message_hub")
    if isinstance(meta, Mapping) and "config" in meta:
        checkpoint["meta"] = {key: value for key, value in meta.items() if key != "config"}
    info = hub.get("runtime_info") if isinstance(hub, Mapping) else None
    if isinstance(hub, Mapping) and isinstance(info, Mapping):
        kept = {key: _harmless(key, value, folder) for key, value in info.items()}
        kept = {key: value for key, value in kept.items() if value is not FORGOTTEN}
        checkpoint["message_hub"] = {**hub, "runtime_info": kept}
    return checkpoint


def _harmless(key: object, value: object, folder: Path) -> object:
    """The value, a path as that of the file beside the checkpoint; or FORGOTTEN."""
    if not isinstance(key, str):
        return FORGOTTEN
    if key == "keep_ckpt_ids":
        whole = isinstance(value, list) and all(type(step) is int for step in value)
        return value if whole else FORGOTTEN
    best = key.startswith("best_ckpt")
    if not (best or key == "last_ckpt") or value is None:
        return value
    if not isinstance(value, str):
        return FORGOTTEN
    file = Path(folder, Path(value).name)
    ours = file.suffix == ".pth" and file.name.startswith("best_" if best else ("epoch_", "iter_"))
    if ours and file.is_file() and not file.is_symlink():
        return str(file)
    # Quietly: most loads, load_from's and --init's, go on from nothing and would not follow it.
    print_log(
        f"The checkpoint says of its run that {printable(key)} is {printable(value)}, and no such "
        "file of the run lies beside it: this is forgotten, so that nothing else is removed.",
        "current",
        logging.DEBUG,
    )
    return FORGOTTEN
