# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A backbone as another library reads it: names, the check against its model, the file."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from ..checkpoint import CheckpointError, compare_state, describe_difference, write_atomic
from ..weights import require_safetensors
from .alignment import identify, renamed
from .architectures import RESNETS
from .names import RESNET_KEY, VIT_MARKS, family, rename_vit, resnet_to_detectron2
from .record import as_text

TARGETS = ("mmpretrain", "torchvision", "timm", "detectron2", "safetensors", "mmseg")


def convert(state: Mapping[str, torch.Tensor], target: str) -> dict[str, torch.Tensor]:
    """Give a backbone the names of another library; its weights are copied on the CPU.

    Args:
        state: In mmpretrain's names, without prefix.
        target: One of :data:`TARGETS`. 'safetensors' has timm's names; 'mmpretrain' gets the
            prefix 'backbone.', and 'mmseg' none, because its ViT ignores ``init_cfg.prefix``.

    Returns:
        Tensors that share no memory with ``state``.

    Raises:
        CheckpointError: A layer has no counterpart there, or the family has none.
    """
    kind = family(state)
    out = {}
    if target != "mmpretrain" and not _usual(state):
        return _of_the_table(state, "timm" if target == "safetensors" else target)
    for key, value in state.items():
        name: str | None = key
        if kind == "vit" and target != "mmpretrain":
            library = "timm" if target == "safetensors" else target
            name = None if target == "detectron2" else rename_vit(key, "mmpretrain", library)
        elif kind == "resnet" and target == "detectron2":
            name = resnet_to_detectron2(key)
            if name is None and key.endswith("num_batches_tracked"):
                continue
        elif kind != "resnet" and target != "mmpretrain":
            name = None
        if name is None or (
            kind == "resnet" and target != "mmpretrain" and not RESNET_KEY.fullmatch(key)
        ):
            raise CheckpointError(
                f"{key} has no counterpart in {target}: only ResNets"
                f"{'' if target == 'detectron2' else ' and ViTs'} of the usual form have one."
            )
        name = f"backbone.{name}" if target == "mmpretrain" else name
        out[name] = value.detach().to("cpu", copy=True).contiguous()
    return out


def architecture(state: Mapping[str, torch.Tensor]) -> str:
    """Name of a backbone, such as 'resnet50' or 'vit, 12 blocks of 384 channels'."""
    if family(state) == "vit":
        # Which any ViT has, a class token or not.
        width = next(state[mark].shape[-1] for mark in VIT_MARKS.values() if mark in state)
        return f"vit, {_vit_blocks(state)} blocks of {width} channels"
    if _usual(state):
        return _resnet_name(state)
    row = identify(state)
    if row is not None:
        return str(row[0].name_in("mmpretrain"))
    return _resnet_name(state) if family(state) == "resnet" else "unknown"


def known_config(state: Mapping[str, torch.Tensor]) -> dict[str, Any] | None:
    """A backbone's config in mmpretrain by its layers and shapes alone; None where they do not say.

    Args:
        state: In mmpretrain's names, without prefix.
    """
    if family(state) == "resnet" and (known := RESNETS.get(_resnet_name(state))):
        return dict(type="ResNet", depth=known[0])
    row = None if family(state) == "vit" else identify(state)
    return row[0].config if row is not None else None


def check_architecture(state: Mapping[str, torch.Tensor]) -> None:
    """Compare keys and shapes with the model that torchvision builds, without building weights.

    timm's and detectron2's models have the same layers under other names.

    Args:
        state: In mmpretrain's names, without prefix.

    Raises:
        CheckpointError: Lists what is missing, extra or of another shape.
    """
    kind = family(state)
    names = dict.fromkeys(state)
    if not _usual(state) and identify(state) is not None:
        return
    if kind == "resnet":
        known = _resnet_name(state)
        if not hasattr(torchvision.models, known):
            raise CheckpointError(f"A {known} is not a ResNet that other libraries have.")
        if state["conv1.weight"].shape[-1] != 7:
            raise CheckpointError(
                f"conv1 is {tuple(state['conv1.weight'].shape)}: this ResNet is one for small "
                "images (no 7x7 stem), which no other library has. mmpretrain reads it as a run's "
                "backbone.pth has it, and from other files as --to mmpretrain writes it."
            )
        with torch.device("meta"):
            model: nn.Module = getattr(torchvision.models, known)(weights=None)
    elif kind == "vit":
        names = {key: rename_vit(key, "mmpretrain", "torchvision") or key for key in state}
        for needed in ("cls_token", "pos_embed"):
            if needed not in state:
                raise CheckpointError(f"This ViT has no {needed}, without which nobody reads it.")
        patch, mlp = state["patch_embed.projection.weight"], state["layers.0.ffn.layers.0.0.weight"]
        side = math.isqrt(state["pos_embed"].shape[1] - 1) * patch.shape[-1]
        with torch.device("meta"):
            model = torchvision.models.VisionTransformer(
                side, patch.shape[-1], _vit_blocks(state), 1, patch.shape[0], mlp.shape[0]
            )
    else:
        raise CheckpointError(
            "No other library that is known here has this backbone (docs/export.md lists those "
            "that have counterparts). mmpretrain, mmdet and mmseg read it as a run's backbone.pth "
            "has it, and from other files as --to mmpretrain writes it."
        )
    ours = {names[key] or key: value for key, value in state.items()}
    theirs = {k: v for k, v in model.state_dict().items() if not k.startswith(("fc.", "heads."))}
    difference = compare_state(theirs, ours)
    if any(difference):
        raise CheckpointError(
            f"This is no {architecture(state)} as torchvision builds it:\n"
            f"{describe_difference(difference)}"
        )


def write_backbone(
    path: str | Path, weights: Mapping[str, torch.Tensor], record: Mapping[str, Any], target: str
) -> None:
    """Write an exported backbone whole or not at all.

    Args:
        path: Named .safetensors for that target, and otherwise not.
        weights: As from :func:`convert`.
        record: Plain values that say where the weights are from.
        target: One of :data:`TARGETS`.
    """
    if target == "safetensors":
        content = require_safetensors().save(dict(weights), as_text(record))
        write_atomic(content, path, save=lambda data, file: file.write(data))
    elif target == "detectron2":
        # Asks its checkpointer to match names by their endings: one file serves C4 and FPN.
        model = {"model": dict(weights), "__author__": "xmoco_plugin", "matching_heuristics": True}
        write_atomic({**model, "meta": dict(record)}, path)
    else:
        write_atomic({"state_dict": dict(weights), "meta": dict(record)}, path)


def _usual(state: Mapping[str, Any]) -> bool:
    """Whether it is a ViT or a ResNet without groups, whose names are known without a table."""
    kind = family(state)
    if kind != "resnet":
        return kind == "vit"
    second = state.get("layer1.0.conv2.weight")
    plain = second is None or second.ndim != 4 or second.shape[1] == second.shape[0]
    return plain and not any(".se_layer." in key for key in state)


def _of_the_table(state: Mapping[str, torch.Tensor], library: str) -> dict[str, torch.Tensor]:
    row = identify(state)
    if row is None:
        raise CheckpointError(
            f"{next(iter(state), 'it')} has no counterpart in {library}: it is of none of the "
            "backbones that docs/export.md lists."
        )
    member, source = row
    name = member.name_in(library) if library in ("torchvision", "timm") else None
    found = None
    if name and library in member.family.alike:
        found = renamed(state, member, source, library)
        if found is None:
            raise CheckpointError(f"{library} {name} cannot be built here: pip install {library}")
    if found is None:
        why = "computes something else with the same weights" if name else "has none like it"
        raise CheckpointError(f"{library} {why}: {member.name_in('mmpretrain')}.")
    return {k: v.detach().to("cpu", copy=True).contiguous() for k, v in found.items()}


def _vit_blocks(state: Mapping[str, Any]) -> int:
    return len({key.split(".")[1] for key in state if key.startswith("layers.")})


def _resnet_name(state: Mapping[str, Any]) -> str:
    blocks = tuple(
        len({key.split(".")[1] for key in state if key.startswith(f"layer{stage}.")})
        for stage in (1, 2, 3, 4)
    )
    built = "layer1.0.conv3.weight" in state, blocks
    known = next((name for name, (_, *like) in RESNETS.items() if tuple(like) == built), None)
    return known or f"resnet of {'-'.join(map(str, blocks))} blocks"
