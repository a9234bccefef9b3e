# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Proof that a checkpoint's backbone is in a model: every key there, every value equal."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner.checkpoint import get_torchvision_models
from torch import nn

from ..checkpoint import (
    CheckpointError,
    compare_state,
    describe_difference,
    read_checkpoint,
    sha256_of,
)
from ..weights import cached_file
from .detectors import refuse_detector
from .names import family
from .sources import HEADS

NO_CHECKPOINT = (
    "The backbone has no checkpoint to compare with: give it init_cfg=dict(type='Pretrained', "
    "checkpoint=..., prefix='backbone.'), or name the file."
)


class Arrival(NamedTuple):
    """A backbone that has arrived.

    Attributes:
        checkpoint: The file.
        sha256: Its hash, in hexadecimal.
        prefix: What stands before the backbone's keys in the file.
        arrived: Number of keys that are in the model with equal values.
        left_out: Number of the file's other keys: neck, head, queue, key encoder.
        parts: Names of the model's modules that hold the weights.
    """

    checkpoint: str
    sha256: str
    prefix: str
    arrived: int
    left_out: int
    parts: list[str]

    def __str__(self) -> str:
        return (
            f"All {self.arrived} backbone weights of {self.checkpoint} (sha256 {self.sha256[:12]}) "
            f"are in {' and '.join(self.parts)}, equal to the last bit; {self.left_out} other keys "
            f"of the file are not used."
        )


def check_arrival(
    model: nn.Module,
    checkpoint: str | Path | None = None,
    prefix: str | None = None,
    ignore: Iterable[str] = (),
) -> Arrival:
    """Compare a model's backbone with the checkpoint it was to be initialized from.

    Args:
        model: With a ``backbone``, after ``init_weights`` and before the first step.
        checkpoint: File; by default that of the backbone's ``init_cfg``.
        prefix: Of the backbone's keys in the file. By default that of ``init_cfg``, or
            'backbone.' where the file has such keys, or none.
        ignore: Regular expressions, searched in the keys; what they match need not arrive and need
            not be in the file. ``num_batches_tracked`` and classifiers (fc, head) never need to.

    Returns:
        What arrived.

    Raises:
        CheckpointError: Lists keys that are missing, extra, of another shape or value; or the file
            is none that can be used.
    """
    if is_model_wrapper(model):
        model = model.module
    config = pretrained_config(model)
    checkpoint = checkpoint or config.get("checkpoint")
    if not checkpoint:
        raise CheckpointError(NO_CHECKPOINT)
    path = local_file(checkpoint)
    prefix, stored, others = read_backbone(path, prefix or config.get("prefix"))
    patterns = [re.compile(pattern) for pattern in ignore]

    def needed(key: str) -> bool:
        return "num_batches_tracked" not in key and not any(p.search(key) for p in patterns)

    theirs = {k: v for k, v in stored.items() if needed(k) and not k.startswith(HEADS)}
    parts = initialized_parts(model, checkpoint)
    ours = {
        key: (value, f"{part}.{key}")
        for part in reversed(parts)
        for key, value in model.get_submodule(part).state_dict().items()
        if needed(f"{part}.{key}") and needed(key)
    }
    difference = compare_state({k: v for k, (v, _) in ours.items()}, theirs)
    other = {key for key, _, _ in difference.mismatched}
    unequal = [
        name
        for key, (value, name) in ours.items()
        if key in theirs and key not in other and not _equal(value, theirs[key])
    ]
    if any(difference) or unequal:
        raise CheckpointError(_report(path, prefix, len(ours), difference, unequal, config, model))
    return Arrival(Path(path).name, sha256_of(path), prefix, len(ours), others, parts)


def read_backbone(path: str | Path, prefix: str | None = None) -> tuple[str, dict[str, Any], int]:
    """Read the keys under a prefix.

    Args:
        path: A file that torch has written.
        prefix: None for 'backbone.' where the file has such keys, and else no prefix.

    Returns:
        The prefix, the weights without it, and how many other keys there are.

    Raises:
        CheckpointError: The file cannot be read, is a detector's or has no such keys.
    """
    loaded = read_checkpoint(path, mmap=True)
    state = loaded.get("state_dict", loaded)
    if not isinstance(state, Mapping):
        raise CheckpointError(f"'state_dict' of {path} is a {type(state).__name__} and no dict.")
    try:
        refuse_detector(state)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    if prefix is None:
        prefix = "backbone." if any(key.startswith("backbone.") for key in state) else ""
    elif prefix and not prefix.endswith("."):
        prefix += "."  # as the host does
    found = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    found = {k: v for k, v in found.items() if isinstance(v, torch.Tensor)}
    if not found or (not prefix and not family(found)):
        firsts = sorted({key.split(".")[0] for key in state})
        raise CheckpointError(
            f"{path} has no backbone under {prefix or 'backbone.'!r}: its keys begin with "
            f"{', '.join(firsts[:8]) or 'nothing'}. Name its prefix (init_cfg.prefix), or bring it "
            "into our layout: xmoco export CKPT OUT --to mmpretrain."
        )
    return prefix, found, len(state) - len(found)


def pretrained_config(module: nn.Module | None) -> dict[str, Any]:
    """The ``init_cfg`` of type 'Pretrained' of a model's backbone, or of a module without one."""
    module = getattr(module, "backbone", module)
    configs = getattr(module, "init_cfg", None) or []
    for config in [configs] if isinstance(configs, Mapping) else configs:
        kind = config.get("type")
        if getattr(kind, "__name__", kind) in ("Pretrained", "PretrainedInit"):
            return dict(config)
    return {}


def initialized_parts(model: nn.Module, checkpoint: str | Path) -> list[str]:
    """The backbone, and the modules outside it that take their weights from the same checkpoint.

    A C4 detector is cut so: the last stage of its ResNet stands in the head.
    """
    if not isinstance(getattr(model, "backbone", None), nn.Module):
        raise CheckpointError(f"{type(model).__name__} has no backbone to look at.")
    others = [
        name
        for name, module in model.named_modules()
        if name
        and name.split(".")[0] != "backbone"
        and not hasattr(module, "backbone")
        and str(pretrained_config(module).get("checkpoint")) == str(checkpoint)
    ]
    return ["backbone", *others]


def local_file(checkpoint: str | Path) -> Path:
    """The file that a checkpoint's name stands for: itself, or what the host has downloaded of it.

    Raises:
        CheckpointError: An address whose file is not on this machine.
    """
    address = str(checkpoint)
    if "://" not in address:
        return Path(address).expanduser()
    if address.startswith("torchvision://"):
        address = get_torchvision_models().get(address.split("://")[1], address)
    path = cached_file(address)
    if not path.is_file():
        raise CheckpointError(
            f"{checkpoint} is no file on this machine, so nothing can be compared with it: "
            "download it, and name the file in init_cfg."
        )
    return path


def _equal(ours: torch.Tensor, theirs: torch.Tensor) -> bool:
    ours = ours.detach().cpu()
    return torch.equal(ours, theirs.to(ours.dtype))


def _report(path, prefix, count, difference, unequal, config, model) -> str:
    lines = [f"The backbone of {path} (keys {prefix}*) is not in this {type(model).__name__}:"]
    if any(difference):
        lines.append(describe_difference(difference))
    if unequal:
        lines.append(f"  {len(unequal):,} of {count:,} of another value:")
        lines += [f"    {key}" for key in unequal[:10]]
        if len(unequal) > 10:
            lines.append(f"    ... and {len(unequal) - 10:,} more")
    if unequal and not config:
        lines.append(
            "Nothing tells the backbone to load it: init_cfg=dict(type='Pretrained', "
            f"checkpoint=..., prefix={prefix!r})."
        )
    elif unequal and (config.get("prefix") or "").rstrip(".") != prefix.rstrip("."):
        lines.append(
            f"init_cfg has prefix={config.get('prefix')!r}, so no key fitted: write "
            f"prefix={prefix!r}."
        )
    elif difference.mismatched:
        lines.append("Another depth, width or stem: build the backbone that was pretrained.")
    else:
        lines.append(
            "Layers that are new or unused on purpose: BackboneArrivalHook(ignore=['their names'])."
        )
    return "\n".join(lines)
