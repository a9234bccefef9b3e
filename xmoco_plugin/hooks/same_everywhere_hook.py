# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import hashlib
import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..distributed import restarts
from ..untrusted import printable
from ..version import __version__

LOOKED_AT = 1000  # images whose names and sizes are compared; ours
LIBRARIES = ("mmengine", "onedl-mmengine", "mmpretrain", "onedl-mmpretrain", "numpy")
# Settings that may differ from machine to machine: places, and how a machine loads.
OWN = (
    *("work_dir", "data_root", "ann_file", "data_prefix", "load_from", "resume", "env_cfg", "path"),
    *("num_workers", "pin_memory", "pin_memory_device", "persistent_workers", "prefetch_factor"),
    *("timeout", "multiprocessing_context", "checkpoint"),
)
SETTINGS = "the settings"
PLACE = "what is behind the training"
PARTS = ("model", "optim_wrapper", "param_scheduler", "train_cfg", "train_dataloader")
NONE = "nothing"  # of a setting that one side has not
LENGTH = 80  # of a setting's value in a message; longer ones end in a hash
BEGAN_WITH = "began_with"  # in a checkpoint: a digest of what was compared
OF_NUMBER = ("train_dataloader.batch_size",)  # settings that change with the number of processes


class UnlikeProcessesError(RuntimeError):
    """The processes of a training run other code, settings or data."""


class OthersUnlikeError(RuntimeError):
    """Others than this process cannot go on with what the training is, and leave it."""


@HOOKS.register_module()
class SameEverywhereHook(Hook):
    """Compares code, libraries, settings and data of all processes before the first step.

    Gradients are averaged whatever they are of: a machine with an older checkout, or with a data
    folder that is not copied to its end, spoils a training without a word. Compared are a digest
    of this package's sources, the versions of the libraries, the model, optimizer and schedule of
    the config, and of the training set its length, and the names and sizes of 1,000 files. Where
    data and checkpoints lie may differ, and how many workers load. And all go on from one place.

    Where machines come and go (``torchrun --nnodes=1:4``), a checkpoint notes what its training
    began with: a process that is unlike it, beside others that are not, ends alone.

    Raises:
        UnlikeProcessesError: On every process, naming the first that differs and in what; on those
            alone that are not as the training began, where others are.
        OthersUnlikeError: On those others, which torchrun starts again. Where nobody would leave,
            as where they go on from different places, it is the other error, on all.
    """

    priority = "VERY_HIGH"

    def __init__(self) -> None:
        self._began: str | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note what the training began with."""
        began = checkpoint.get(BEGAN_WITH)
        self._began = began if runner._resume and isinstance(began, str) else None

    def before_train(self, runner: Runner) -> None:
        """Compare."""
        if get_world_size() == 1 and not restarts():
            return
        facts = facts_of(runner)
        began, self._began = self._began, digest_of(facts)
        stays = restarts() and self._began == began
        found = all_gather_object((facts, stays))
        differ = difference([facts for facts, _ in found])
        if differ is None:
            return
        if stays and not all(stay for _, stay in found):
            raise OthersUnlikeError(
                f"{differ} Whoever is unlike what this training began with leaves it; the others "
                "go on."
            )
        raise UnlikeProcessesError(f"{differ} Make them alike and start again.")

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note it for those that come later."""
        if self._began is not None and restarts():
            checkpoint[BEGAN_WITH] = self._began


def facts_of(runner: Runner) -> dict[str, Any]:
    """What must be alike, with a word for each, and which process says so."""
    return {
        "": f"process {get_rank()} on {socket.gethostname()}",
        "the version of this package": f"{__version__} ({code_digest()})",
        "the libraries": libraries(),
        SETTINGS: settings_of(runner.cfg),
        "the training data": data_digest(runner.train_dataloader.dataset),
        PLACE: f"{runner.iter:,} iterations",
    }


def digest_of(facts: Mapping[str, Any]) -> str:
    """Of what stays alike in a training, however many processes it has and wherever it stands."""
    settings = {k: v for k, v in facts[SETTINGS].items() if k not in OF_NUMBER}
    kept = {k: v for k, v in facts.items() if k not in ("", PLACE, SETTINGS)}
    text = json.dumps([kept, settings], sort_keys=True)
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def difference(all_facts: Sequence[Mapping[str, Any]]) -> str | None:
    """Compares every process with the first; of settings it names the first key that differs.

    Returns:
        A sentence on the first process that differs, and in what; None where all are alike.
    """
    first = all_facts[0]
    for facts in all_facts[1:]:
        unlike = [name for name in first if name and facts.get(name) != first[name]]
        if unlike:
            what = "; ".join(_unlike(name, facts.get(name), first[name]) for name in unlike)
            return f"{facts['']} and {first['']} differ. {what}."
    return None


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


def settings_of(cfg: Mapping[str, Any]) -> dict[str, str]:
    """What is trained and how, by dotted keys, as JSON; what is a machine's own is left out."""
    return dict(_flat("", {part: _plain(cfg[part]) for part in PARTS if cfg.get(part) is not None}))


def _unlike(name: str, there: Any, here: Any) -> str:
    if name == SETTINGS and isinstance(there, Mapping) and isinstance(here, Mapping):
        keys = [k for k in {**here, **there} if here.get(k, NONE) != there.get(k, NONE)]
        more = f", and {len(keys) - 1:,} more" if len(keys) > 1 else ""
        key, there, here = keys[0], there.get(keys[0], NONE), here.get(keys[0], NONE)
        return f"{name}: {printable(key)} is {printable(there)} there, {printable(here)} here{more}"
    return f"{name}: {printable(str(there))} there, {printable(str(here))} here"


def _flat(key: str, value: Any) -> Iterator[tuple[str, str]]:
    inner: Iterable[tuple[str, Any]] = ()
    if isinstance(value, Mapping):
        inner = ((f"{key}.{name}".lstrip("."), part) for name, part in value.items())
    elif isinstance(value, list):
        inner = ((f"{key}.{place}", part) for place, part in enumerate(value))
    if isinstance(value, Mapping | list) and value:
        for name, part in inner:
            yield from _flat(name, part)
        return
    text = json.dumps(value)
    if len(text) > LENGTH:
        text = f"{text[:LENGTH]}... ({hashlib.sha256(text.encode()).hexdigest()[:12]})"
    yield key, text


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
    if isinstance(known := getattr(dataset, "digest", None), str):  # of shards, which lie far
        return f"{count:,} images ({known[:12]})"
    get: Callable[[int], Any] = getattr(dataset, "get_data_info", lambda _: {})
    found = hashlib.sha256()
    for place in range(0, count, max(-(-count // LOOKED_AT), 1)):
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
