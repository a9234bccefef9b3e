# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import hashlib
import json
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..untrusted import printable
from ..version import __version__

LOOKED_AT = 1000  # images whose names and sizes are compared; ours
LIBRARIES = ("mmengine", "onedl-mmengine", "mmpretrain", "onedl-mmpretrain", "numpy")
# Settings that may differ from machine to machine.
OWN = ("work_dir", "data_root", "ann_file", "data_prefix", "load_from", "resume", "env_cfg", "path")


class UnlikeProcessesError(RuntimeError):
    """The processes of a training run other code, settings or data."""


@HOOKS.register_module()
class SameEverywhereHook(Hook):
    """Compares code, libraries, settings and data of all processes before the first step.

    Gradients are averaged whatever they are of: a machine with an older checkout, or with a data
    folder that is not copied to its end, spoils a training without a word. Compared are a digest
    of this package's sources, the versions of the libraries, the model, optimizer and schedule of
    the config, and of the training set its length, and the names and sizes of 1,000 files. Where
    data lie may differ.

    Raises:
        UnlikeProcessesError: On every process, naming the first that differs and in what.
    """

    priority = "VERY_HIGH"

    def before_train(self, runner: Runner) -> None:
        if get_world_size() == 1:
            return
        compare(all_gather_object(facts_of(runner)))


def facts_of(runner: Runner) -> dict[str, str]:
    """What must be alike, with a word for each, and which process says so."""
    return {
        "": f"process {get_rank()} on {socket.gethostname()}",
        "the version of this package": f"{__version__} ({code_digest()})",
        "the libraries": libraries(),
        "the settings": settings_digest(runner.cfg),
        "the training data": data_digest(runner.train_dataloader.dataset),
    }


def compare(all_facts: Sequence[Mapping[str, str]]) -> None:
    """Compares every process with the first.

    Raises:
        UnlikeProcessesError: Names the first process that differs.
    """
    first = all_facts[0]
    for facts in all_facts[1:]:
        unlike = [name for name in first if name and facts.get(name) != first[name]]
        if unlike:
            what = "; ".join(
                f"{name}: {printable(str(facts.get(name)))} there, {printable(first[name])} here"
                for name in unlike
            )
            raise UnlikeProcessesError(
                f"{facts['']} and {first['']} differ. {what}. Make them alike and start again."
            )


def code_digest() -> str:
    """Of the sources of this package."""
    root = Path(__file__).parents[1]
    found = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        found.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def libraries() -> str:
    """Versions."""
    found = [f"torch {torch.__version__}"]
    for name in LIBRARIES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def settings_digest(cfg: Mapping[str, Any]) -> str:
    """Of what is trained and how; places of a machine's own are left out."""
    parts = ("model", "optim_wrapper", "param_scheduler", "train_cfg", "train_dataloader")
    kept = {part: _plain(cfg[part]) for part in parts if cfg.get(part) is not None}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if k not in OWN}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return getattr(value, "__name__", type(value).__name__)


def data_digest(dataset: Any) -> str:
    """How many images there are, and a digest of names and sizes of some."""
    count = len(dataset)
    get: Callable[[int], Any] = getattr(dataset, "get_data_info", lambda _: {})
    found = hashlib.sha256()
    for place in range(0, count, max(count // LOOKED_AT, 1)):
        info = get(place)
        path = info.get("img_path") if isinstance(info, Mapping) else None
        if not isinstance(path, str):
            break
        try:
            size = os.stat(path).st_size
        except OSError:  # elsewhere than on a disk, or missing, which the loader says
            size = -1
        found.update(f"{os.path.basename(path)} {size}\n".encode("utf-8", "surrogateescape"))
    return f"{count:,} images ({found.hexdigest()[:12]})"
