# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""From the names of one library to those of another, by models that are built and compared."""

import importlib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
import torchvision
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

from .architectures import FAMILIES, Member, members, of_family

# What these libraries call a classifier, or build for one; mmpretrain's backbones have none.
CLASSIFIER = re.compile(r"(fc|classifier|heads?|pre_logits|conv_head|AuxLogits)\b")
# Of these, what stands under a classifier's name and is the backbone's.
KEPT = {
    "ConvNeXt": re.compile(r"(classifier\.0|head\.norm)\."),
    "MobileNetV2": re.compile(r"conv_head\."),
    "EfficientNet": re.compile(r"conv_head\."),
    "EfficientNetV2": re.compile(r"conv_head\."),
}
# Buffers that are computed from the model's settings: some versions store them.
COMPUTED = re.compile(r"(relative_position_index|attn_mask)$")
# Where definitions differ in their order: a module's place is the numbers that its name has, and
# whether it comes last among those of the same numbers.
ORDER = {
    ("ConvNeXt", "mmpretrain"): (r"(?:downsample_layers|stages)\.(\d+)", r"stages"),
    ("DenseNet", "mmpretrain"): (r"(?:stages|transitions)\.(\d+)", r"transitions"),
    ("SwinTransformer", "torchvision"): (r"features\.(\d+)", r".*\.reduction\."),
    ("SEResNet", "mmpretrain"): (r"layer(\d+)\.(\d+)", r".*\.downsample"),
    ("RegNet", "torchvision"): (r"trunk_output\.block(\d+)\.block\d+-(\d+)", r".*\.proj\."),
}
FIRST, LAST = re.compile(r"(stem|conv|bn|patch_embed)"), (1 << 30,)


def identify(state: Mapping[str, Any]) -> tuple[Member, str] | None:
    """What backbone of the table a state is, and in which library's names; None for none.

    Args:
        state: Weights by key, without prefix; a classifier may be among them.
    """
    for member, library in members(state):
        theirs = tensors(member, library)
        if theirs is not None and not unlike(theirs, _body(member, state)):
            return member, library
    return None


def name_in(state: Mapping[str, Any], library: str) -> str | None:
    """What a library calls a backbone of the table; None where it has none that computes the same.

    Args:
        state: In mmpretrain's names.
        library: 'torchvision' or 'timm'.
    """
    row = identify(state)
    if row is None or library not in row[0].family.alike:
        return None
    return row[0].name_in(library)


def unlike(model: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    """Keys that only one of two has, or that have another number of values there."""
    only = [k for k in {**model, **state} if (k in model) != (k in state)]
    return [k for k in only if not k.endswith("num_batches_tracked")] + [
        k for k in model if k in state and model[k].numel() != state[k].numel()
    ]


def renamed(
    state: Mapping[str, torch.Tensor], member: Member, source: str, target: str
) -> dict[str, torch.Tensor] | None:
    """A backbone in the names, the shapes and the order of values of another library.

    Args:
        state: As :func:`identify` has found it.
        member: Its row of the table.
        source: Library whose names it has.
        target: Library whose names are wanted.

    Returns:
        Tensors, without a classifier's; None where the target has no such backbone, or is not
        installed.
    """
    theirs, ours = tensors(member, source), tensors(member, target)
    if theirs is None or ours is None:
        return None
    body = _body(member, state)
    if source == target:
        return {key: body[key] for key in ours if key in body}
    found: dict[str, torch.Tensor] = {}
    for there, here in zip(theirs, ours, strict=True):
        if there in body:
            value = body[there]
            if _is_merging(member, here) and "mmpretrain" in (source, target):
                value = _merged(value, to_ours=target == "mmpretrain")
            found[here] = value.reshape(ours[here].shape)
    return found


def tensors(member: Member, library: str) -> dict[str, torch.Tensor] | None:
    """What a backbone holds in a library, by key, in an order that is the same in all libraries.

    Args:
        member: Of the table.
        library: One of LIBRARIES.

    Returns:
        Tensors, mostly without values and without a classifier's; None where the library has no
        such backbone, or is not installed.
    """
    name = member.name_in(library)
    if name is None:
        return None
    family = FAMILIES.index(member.family)
    number = [m.value for m in of_family(member.family)].index(member.value)
    try:
        model = _built(family, number, library)
    except (ImportError, RuntimeError, AttributeError):  # an older library may lack it
        return None
    body = _body(member, model.state_dict())
    places = {key: _place(member.family.kind, library, key) for key in body}
    return {key: body[key] for key in sorted(body, key=lambda key: places[key])}


@lru_cache(maxsize=8)
def _built(family: int, number: int, library: str) -> nn.Module:
    member = of_family(FAMILIES[family])[number]
    with torch.random.fork_rng(devices=[]):
        try:  # without values, which take seconds to draw
            with torch.device("meta"):
                return _build(member, library)
        except RuntimeError:  # some compute their widths by tensors
            return _build(member, library)


def _build(member: Member, library: str) -> nn.Module:
    name = member.name_in(library)
    if library == "mmpretrain":
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            return MODELS.build(member.config)
    if library == "torchvision":
        return getattr(torchvision.models, str(name))(weights=None)
    return importlib.import_module("timm").create_model(name, num_classes=0)


def _body(member: Member, state: Mapping[str, Any]) -> dict[str, Any]:
    kept = KEPT.get(member.family.kind)
    return {
        key: value
        for key, value in state.items()
        if (not CLASSIFIER.match(key) or (kept and kept.match(key))) and not COMPUTED.search(key)
    }


def _place(kind: str, library: str, key: str) -> tuple:
    """Where a key's module stands; sorting is stable, so equals stay as they are defined."""
    if (kind, library) not in ORDER:
        return ()
    pattern, last = ORDER[kind, library]
    module = key.rpartition(".")[0]
    found = re.match(pattern, module)
    if found:
        return (*map(int, found.groups()), bool(re.match(last, module + ".")))
    return (-1,) if FIRST.match(module) else LAST


def _is_merging(member: Member, key: str) -> bool:
    """Whether a tensor is of a Swin, and goes over the four pixels that are merged."""
    merging = r"(downsample|features\.[246])\.(norm\.|reduction\.)"
    return member.family.kind == "SwinTransformer" and bool(re.search(merging, key))


def _merged(value: torch.Tensor, to_ours: bool) -> torch.Tensor:
    """(..., 4C) by channel, row and column of what is merged; others: column, row, channel."""
    *rest, width = value.shape
    if to_ours:
        parts = value.reshape(*rest, 2, 2, width // 4)
    else:
        parts = value.reshape(*rest, width // 4, 2, 2)
    n = len(rest)
    return parts.permute(*range(n), n + 2, n + 1, n).reshape(value.shape)
