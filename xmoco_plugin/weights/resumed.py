# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a training goes on from: its state must be one, and gives the host no orders."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from ..untrusted import printable
from .errors import CheckpointError
from .numbers import check_optimizer

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
    """A checkpoint without what the host would run or delete when it goes on from it.

    mmengine runs the config in ``meta['config']`` as Python, and removes the file or folder that
    ``best_ckpt`` names once a better one is there.

    Args:
        checkpoint: As read; left as it is.
        folder: Of its file: what was the best of the run lies in there.

    Returns:
        A copy of the outer dicts; the weights are the same.
    """
    checkpoint = dict(checkpoint)
    meta, hub = checkpoint.get("meta"), checkpoint.get("message_hub")
    if isinstance(meta, Mapping) and "config" in meta:
        checkpoint["meta"] = {key: value for key, value in meta.items() if key != "config"}
    info = hub.get("runtime_info") if isinstance(hub, Mapping) else None
    if isinstance(hub, Mapping) and isinstance(info, Mapping):
        kept = {key: value for key, value in info.items() if _harmless(key, value, folder)}
        checkpoint["message_hub"] = {**hub, "runtime_info": kept}
    return checkpoint


def _harmless(key: object, value: object, folder: Path) -> bool:
    if not isinstance(key, str):
        return False
    if key == "keep_ckpt_ids":
        return isinstance(value, list) and all(type(step) is int for step in value)
    if not key.startswith("best_ckpt") or value is None:
        return True
    if not isinstance(value, str):
        return False
    path = Path(value)
    inside = os.path.realpath(path.parent) == os.path.realpath(folder)
    if inside and path.name.startswith("best_") and path.suffix == ".pth" and not path.is_dir():
        return True
    print_log(
        f"The checkpoint calls {printable(value)} the best of its run, which is no best_*.pth "
        "beside it: the host would remove it for a better one, so it is forgotten.",
        "current",
    )
    return False
