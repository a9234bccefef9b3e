# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The one reader of backbones: ours, mmpretrain's, FAIR's, DINO's, torchvision's, timm's, ..."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from ..checkpoint import CheckpointError, read_checkpoint
from ..weights import check_weights
from .alignment import COMPUTED, identify, renamed, unlike
from .detectors import check_average, check_backbone, refuse_detector
from .names import family, rename_vit, resnet_from_detectron2, vit_library
from .places import (
    DETECTRON2_MARK,
    LAYOUTS,
    SEQUENTIAL_MARK,
    beside_note,
    first_parts,
    left_beside,
    places,
    weights_in,
    without_wrappers,
)
from .record import backbone_settings, checked_backbone

SOURCES = ("auto", *LAYOUTS, "torchvision", "timm")
HEADS = ("fc.", "head.", "heads.")  # what these libraries call a backbone's classifier
# What else may stand beside a backbone's layers without being one of them.
BESIDE = re.compile(
    r"(fc|heads?|classifier|projector|projection\w*|predictor|prototypes|proj_head|decoder\w*"
    r"|mask_token|neck|queue\w*)(\.|$)"
)
# torch.nn.Sequential(*children) of a ResNet numbers them: its blocks from 4 on, or from 3 on where
# there is no pooling before them, as for small images.
CHILDREN = {
    first: {"0": "conv1", "1": "bn1", **{str(first + i): f"layer{i + 1}" for i in range(4)}}
    for first in (3, 4)
}


class Backbone(NamedTuple):
    """A backbone that was found in a checkpoint.

    Attributes:
        state: Weights in mmpretrain's names, without prefix.
        layout: Key of LAYOUTS; 'found' or 'prefix' for another place.
        prefix: What stood before its keys.
        family: 'resnet', 'vit' or an empty text.
        left_out: Keys of the checkpoint that are not in ``state``.
        note: What is not the same in mmpretrain, and weights that were left out whole, in a
            sentence; mostly empty.
    """

    state: dict[str, Any]
    layout: str
    prefix: str
    family: str
    left_out: list[str]
    note: str = ""


def read_weights(path: str | Path) -> dict:
    """Read a torch file or a safetensors file without running code it may carry.

    Raises:
        CheckpointError: As :func:`read_checkpoint`; or the file is not what its name says.
    """
    return read_checkpoint(path)


def find_backbone(
    checkpoint: Mapping[str, Any],
    layout: str = "auto",
    encoder: str = "query",
    prefix: str | None = None,
    like: Mapping[str, Any] | None = None,
    of_detector: bool = False,
) -> Backbone:
    """Find the backbone in a checkpoint and give it mmpretrain's names.

    What is accepted has the keys of a backbone that is known: a ResNet or ViT in any library's
    names, one of the table in :mod:`.architectures`, the one of the checkpoint's own config, or
    ``like``. Parts that torch.compile, DDP, FSDP and EMA put into keys are taken off before.

    Args:
        checkpoint: As from :func:`read_weights`; with a 'state_dict' entry, or weights by key.
        layout: One of :data:`SOURCES`; 'torchvision' and 'timm' are other words for 'bare'.
            Defaults to 'auto'.
        encoder: 'query', or 'key' for the momentum encoder.
        prefix: Of the backbone's keys, where it is known; anything that stands there is accepted.
        like: Weights or shapes of the backbone that is wanted, in mmpretrain's names.
        of_detector: Whether it may be a detector's or a segmentor's, whose neck and heads are then
            left out. Defaults to False, because such a backbone is no pretraining's any more.

    Raises:
        CheckpointError: No backbone is there, or it is a detector's, deeper than ``like``,
            incomplete in its names, not finite, or of a family whose names are not known; with the
            places looked at.
    """
    state, keys = weights_in(checkpoint)
    if of_detector:
        check_backbone(checkpoint)
        check_average(checkpoint)
    else:
        refuse_detector(state)
    wanted = "bare" if layout in ("torchvision", "timm") else layout
    if prefix is not None:
        stem = without_wrappers(prefix.strip("."))
        found_at = iter([("prefix", f"{stem}." if stem else "")])
    else:
        found_at = places(state, wanted, encoder)  # one by one: what comes later may be in doubt
    tried = []
    for name, place in found_at:
        found = {k[len(place) :]: v for k, v in state.items() if k.startswith(place)}
        named = _recognized(found, name, place, like, checkpoint)
        if named is not None:
            body, note, used = named
            check_weights(body)
            left_out = [
                k for p, k in keys.items() if not (p.startswith(place) and p[len(place) :] in used)
            ]
            for entry, further in left_beside(checkpoint).items():
                left_out += [f"{entry}.{key}" for key in further]
            note = "; ".join(filter(None, (note, beside_note(checkpoint))))
            kind = family(body)
            return Backbone(body, name, _shown(place, state, keys), kind, left_out, note)
        tried.append(repr(place) if place else "no prefix")
    what = f"{encoder} backbone" if prefix is None else f"backbone under {prefix!r}"
    looked = (
        f"looked under {', '.join(tried)}"
        if tried
        else (f"looked for the layouts {', '.join(LAYOUTS) if wanted == 'auto' else wanted}")
    )
    raise CheckpointError(
        f"No {what} that is known is in this file ({looked}): its keys begin with "
        f"{first_parts(state)}, such as {next(iter(state), 'none')}. Name what stands before the "
        "backbone's keys with --prefix, and the model with --config where there is that option."
    )


def further_layers(wanted: Mapping[str, Any], state: Mapping[str, Any]) -> list[str]:
    """Keys of layers that a deeper network has within the stages of the wanted one.

    A deep network has all layers of a shallow one of its family, mostly of the same shapes: taken
    by the keys that are wanted alone, it would be cut without a word.

    Args:
        wanted: Weights or shapes of the backbone, by key.
        state: Weights in the same names; heads and further outputs beside the stages do not count.
    """
    stages = {key.partition(".")[0] for key in wanted if "." in key}
    return [
        key
        for key in state
        if key not in wanted and "." in key and key.partition(".")[0] in stages
        if not COMPUTED.search(key) and not key.endswith("num_batches_tracked")
    ]


def is_known(backbone: Backbone, checkpoint: Mapping[str, Any]) -> bool:
    """Whether nothing is missing of a backbone, and nothing more, as far as that can be told here.

    A ResNet's names do not say whether it is whole; one for small images without a config of its
    own, and what stands under a prefix that was given, are taken as they are.
    """
    if backbone.family != "resnet" or backbone.layout == "prefix":
        return True
    own = _of_config(checkpoint)
    stem = backbone.state["conv1.weight"]
    return not unlike(own, backbone.state) if own is not None else stem.shape[-1] == 3


def _recognized(
    found: dict[str, Any],
    layout: str,
    place: str,
    like: Mapping[str, Any] | None,
    checkpoint: Mapping[str, Any],
) -> tuple[dict[str, Any], str, set[str]] | None:
    """The backbone's weights, what is to be said of them, and which of the keys were used."""
    if like is not None and not unlike(like, {k: found[k] for k in like if k in found}):
        if further := further_layers(like, found):
            raise CheckpointError(
                f"It holds a deeper backbone than the one that is wanted, with {len(further):,} "
                f"tensors of further layers such as {place}{further[0]}: name the model that it is "
                "of."
            )
        body = {key: found[key] for key in like if key in found}
        return body, "", set(body)
    if SEQUENTIAL_MARK in found and "0.weight" in found:
        children = CHILDREN[3 if "3.0.conv1.weight" in found else 4]
        numbers = {
            k: children[k.split(".")[0]] + k[1:] for k in found if k.split(".")[0] in children
        }
        return {name: found[k] for k, name in numbers.items()}, "", set(numbers)
    if DETECTRON2_MARK in found:
        names = {k: resnet_from_detectron2(k) for k in found}
        body = {name: found[k] for k, name in names.items() if name}
        return body, "", {k for k, name in names.items() if name}
    kind = family(found)
    if kind == "vit":
        return _vit(found, layout, place)
    # timm's SEResNets begin as a ResNet does; the table has them.
    if kind == "resnet" and not any(".se." in key for key in found):
        strict = layout == "mmpretrain"
        body = {k: v for k, v in found.items() if strict or not BESIDE.match(k)}
        return body, "", set(body)
    row = identify(found)
    if row is not None:
        member, library = row
        body = renamed(found, member, library, "mmpretrain") or {}
        used = {k for k in found if not COMPUTED.search(k) and not BESIDE.match(k)}
        note = ""
        if library not in member.family.alike:
            note = (
                f"{library}'s {member.name_in(library)} pads, or normalizes, otherwise than "
                "mmpretrain's: the same weights give features that differ a little"
            )
        return body, note, used
    own = _of_config(checkpoint)
    if own is not None and not unlike(own, {k: found[k] for k in own if k in found}):
        body = {key: found[key] for key in own if key in found}
        return body, "", set(body)
    return (found, "", set(found)) if layout == "prefix" and found else None


def _vit(found: dict[str, Any], layout: str, place: str) -> tuple[dict[str, Any], str, set[str]]:
    library, body, used = vit_library(found), {}, set()
    for key, value in found.items():
        if layout != "mmpretrain" and BESIDE.match(key):
            continue
        name = key if library == "mmpretrain" else rename_vit(key, library, "mmpretrain")
        if name is None:
            raise CheckpointError(
                f"{place}{key} is of no layer that mmpretrain's VisionTransformer has."
            )
        body[name] = value
        used.add(key)
    return body, "", used


def _of_config(checkpoint: Mapping[str, Any]) -> Mapping[str, torch.Tensor] | None:
    """Weights of the backbone that a checkpoint's own config describes; None where none is built.

    The config is a stranger's: it has passed the gate.
    """
    settings = checked_backbone(backbone_settings(checkpoint))
    if settings is None:
        return None
    try:
        with DefaultScope.overwrite_default_scope("mmpretrain"), torch.random.fork_rng(devices=[]):
            return MODELS.build(settings).state_dict()
    except Exception:  # whatever a class may say of settings that anybody wrote
        return None


def _shown(place: str, state: Mapping[str, Any], keys: Mapping[str, str]) -> str:
    """The prefix as it stands in the file, where wrappers' parts are before the backbone only."""
    first = next(p for p in state if p.startswith(place))
    rest = first[len(place) :]
    return keys[first][: -len(rest)] if rest and keys[first].endswith(rest) else place
