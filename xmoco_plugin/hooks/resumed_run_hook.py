# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
from pathlib import Path
from typing import Any

from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..checkpoint import CheckpointError


@HOOKS.register_module()
class ResumedRunHook(Hook):
    """Lets a resumed run take numbers from its checkpoint, and no code and no path.

    The host runs the text that a checkpoint has as ``meta['config']``, and reads, exports and
    deletes the files whose paths the message hub in it names. Between reading the file and using
    it, this takes the text out, turns each such path into that of the file of the same name in
    the run's own folder, as a run may have been moved or copied, and drops what is not there.

    Raises:
        CheckpointError: The checkpoint does not say how far its training came.
    """

    priority = "VERY_HIGH"

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Called by the host before it resumes from what it has read."""
        if not runner._resume:
            return
        meta, hub = checkpoint.get("meta"), checkpoint.get("message_hub")
        meta = meta if isinstance(meta, dict) else {}
        counts = [meta.get(name) for name in ("epoch", "iter")]
        if not all(isinstance(n, int) and n >= 0 for n in counts):
            raise CheckpointError(
                "The checkpoint does not say how many epochs and iterations it has behind it, so "
                "no training goes on from it. To start with its weights: load_from=<file>, "
                "resume=False."
            )
        if not isinstance(hub, dict) or not isinstance(hub.get("runtime_info"), dict):
            raise CheckpointError(
                "The checkpoint lacks the message hub of a training, so none goes on from it. To "
                "start with its weights: load_from=<file>, resume=False."
            )
        meta.pop("config", None)
        info = hub["runtime_info"]
        info |= own_paths(info, _folders(runner))
        for key in [key for key, value in info.items() if value is None]:
            if _is_path(key):
                del info[key]
        kept = info.get("keep_ckpt_ids", [])
        info["keep_ckpt_ids"] = [n for n in kept if isinstance(n, int)] if kept else []


def own_paths(info: dict[str, Any], folders: list[Path]) -> dict[str, str | None]:
    """Paths of checkpoints in a message hub, each in one of a run's own folders or None."""
    found: dict[str, str | None] = {}
    for key in filter(_is_path, info):
        path = Path(os.path.normpath(str(info[key])))
        places = [f for f in folders if path.parent == f] or folders[:1]
        file = places[0] / path.name
        found[key] = str(file) if path.name and file.is_file() else None
    return found


def _is_path(key: object) -> bool:
    return key == "last_ckpt" or str(key).startswith("best_ckpt")


def _folders(runner: Runner) -> list[Path]:
    """Where the run keeps checkpoints: its work dir, and what its hooks name."""
    work_dir = Path(os.path.normpath(runner.work_dir))
    kept = [hook.out_dir for hook in runner.hooks if isinstance(hook, CheckpointHook)]
    return [work_dir, *(Path(os.path.normpath(k)) / work_dir.name for k in kept if k)]
