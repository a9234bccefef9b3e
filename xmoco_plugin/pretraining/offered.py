# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a file that a run is to begin with holds: which backbone, of what, and what it sees."""

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import torch

from ..checkpoint import CheckpointError, compare_state, describe_difference
from ..export import (
    Backbone,
    architecture,
    find_backbone,
    further_layers,
    read_weights,
    unlike_others,
)
from ..export.alignment import tensors, unlike
from ..export.architectures import FAMILIES, of_family
from ..export.detectors import Inputs, counted, inputs_of, parts_of, settings_of
from ..export.places import weights_in
from ..untrusted import printable
from .backbones import VIT_SMALL, backbone_weights
from .errors import PretrainError
from .first_convolution import COLOURS

OUTPUT_NORM = re.compile(r"norm\d+\.")
BY_ITSELF = re.compile(r"(relative_position_index|attn_mask|num_batches_tracked)$")
USUAL_SIZE = 224  # px, where the data have not chosen yet; it shows in a ViT's positions alone
# Settings by which backbones of one class are told apart in their names.
SETTINGS = ("arch", "depth", "widen_factor")
# What mmdet's and mmseg's backbones that have several settings for it call their sizes.
SIZES = ("nano", "tiny", "s", "small", "m", "medium", "base", "l", "large", "x")


class Offered(NamedTuple):
    """What a file offers as the first weights of a run.

    Attributes:
        model: Its name for ``--model``; None where it has none that is known.
        detector: Whether it is a detector's or a segmentor's.
        inputs: What such a network gets of an image, where its settings say so.
        note: What is taken and what is left out of such a file, in a sentence; else empty.
    """

    model: str | None
    detector: bool = False
    inputs: Inputs | None = None
    note: str = ""


def look_into(
    init: str, prefix: str | None = None, model: str | None = None, size: int | None = None
) -> Offered:
    """Look at a file before anything else is: it holds a backbone, and the one that is asked for.

    Args:
        init: The file.
        prefix: Of the backbone's keys, where they are not found.
        model: Name of the backbone that is wanted; None for the file's own.
        size: Side of the views, px, where it is known.

    Raises:
        CheckpointError: It cannot be read, holds no backbone, or a detector's that is another one
            than ``model`` or none that has a name.
    """
    checkpoint = read_weights(init)
    state = weights_in(checkpoint).state
    detector = bool(parts_of(state))
    wanted = _weights_of(model, size or USUAL_SIZE) if model else None
    name = model or _name_of(checkpoint, prefix, size or USUAL_SIZE)
    like = wanted
    if model is None and name is not None:
        like = _weights_of(name, size or USUAL_SIZE)
    like = like and _as_wide(like, state)
    try:
        found = find_backbone(checkpoint, prefix=prefix, like=like, of_detector=detector)
    except CheckpointError as error:
        if not detector:
            raise
        raise _no_such(init, model, wanted, checkpoint, str(error)) from None
    if not detector:
        if deeper := further_layers(wanted, found.state) if wanted else []:
            raise CheckpointError(
                f"{printable(init)} holds a deeper backbone than --model {model}: {len(deeper):,} "
                f"tensors of further layers, such as {deeper[0]}. Leave --model out to take the "
                "one in the file, or name its own."
            )
        return Offered(name)
    if wanted is not None:
        difference = compare_state(_as_wide(wanted, found.state), found.state)
        stem = found.prefix
        beyond = [k[len(stem) :] for k in found.left_out if stem and k.startswith(stem)]
        if difference.missing or difference.mismatched or _further(beyond):
            raise _no_such(init, model, wanted, checkpoint, "")
    elif name is None:
        raise _no_such(init, None, None, checkpoint, "")
    return Offered(name, True, inputs_of(checkpoint), said_of(found, checkpoint))


def said_of(found: Backbone, checkpoint: Mapping[str, Any]) -> str:
    """What is taken of a detector and what is not, in a sentence without its stop."""
    unlike = unlike_others(_settings(checkpoint), found.family) if found.family == "resnet" else []
    return (
        f"a detector's or segmentor's weights: its backbone is taken ({found.prefix}*, "
        f"{len(found.state):,} tensors); left out: {counted(found.left_out)}"
    ) + (f"; it was trained with {', '.join(unlike)}, and goes on as the others" if unlike else "")


def _name_of(checkpoint: Mapping[str, Any], prefix: str | None, size: int) -> str | None:
    """The name for ``--model`` of the backbone in a file; None where none that is known fits."""
    with contextlib.suppress(CheckpointError, KeyError):  # what a prefix names may be anything
        found = find_backbone(checkpoint, prefix=prefix, of_detector=True).state
        if _holds(found, _weights_of(name := architecture(found), size)):
            return name
    stem = "backbone." if prefix is None else f"{prefix.strip('.')}."
    state = weights_in(checkpoint).state
    body = {k[len(stem) :]: v for k, v in state.items() if k.startswith(stem)}
    names = _names_of(checkpoint, body) if body else ()
    return next((name for name in names if _holds(body, _weights_of(name, size))), None)


def _holds(body: Mapping[str, Any], wanted: Mapping[str, Any] | None) -> bool:
    """Whether weights are what is wanted, norms of further outputs aside."""
    if wanted is None or _further(body.keys() - wanted.keys()):
        return False  # a deeper backbone has all layers of a shallow one
    return not unlike(_as_wide(wanted, body), {k: body[k] for k in wanted if k in body})


def _as_wide(wanted: Mapping[str, Any], state: Mapping[str, Any]) -> dict[str, Any]:
    """Weights of a backbone, its first convolution for as many channels as that of a file.

    Which channels the images have is known after they were looked at alone; whether the weights
    fit them is said then.

    Args:
        wanted: By key, of a backbone for 3 channels.
        state: Of the file, its keys with anything before them.
    """
    found = dict(wanted)
    for key, value in wanted.items():
        if value.ndim < 3 or value.shape[1] != COLOURS:
            continue
        of_file = (v for k, v in state.items() if k == key or k.endswith(f".{key}"))
        given = next(of_file, value)
        if getattr(given, "ndim", 0) == value.ndim and given.shape[1] != COLOURS:
            wider = (value.shape[0], given.shape[1], *value.shape[2:])
            found[key] = torch.empty(wider, device="meta")
    return found


def _further(keys: Iterable[str]) -> list[str]:
    """Keys of layers, neither of norms of further outputs nor computed or counted."""
    return [key for key in keys if not OUTPUT_NORM.match(key) and not BY_ITSELF.search(key)]


def _names_of(checkpoint: Mapping[str, Any], body: Mapping[str, Any]) -> Iterator[str]:
    """Names that the backbone in a file may have by its settings."""
    settings = _settings(checkpoint)
    kind, scope = settings.get("type"), settings_of(checkpoint).get("default_scope")
    if not isinstance(kind, str):
        return
    kind = kind.removeprefix("mmpretrain.").removeprefix(f"{scope}.")
    if kind == "MoCoV3ViT":
        yield VIT_SMALL  # which has a recipe of its own
    hosts = [f"{scope}."] if scope in ("mmdet", "mmseg") else []
    values = [v for k in SETTINGS if isinstance(v := settings.get(k), str | int | float)]
    for before in ("", *hosts):
        yield from (f"{before}{kind}:{value}" for value in values)
    # A host's class of that name may have other settings for the same layers, as Swin's.
    for family in FAMILIES:
        for member in of_family(family) if hosts and family.kind == kind else ():
            if _holds(body, tensors(member, "mmpretrain")):  # without values, which take long
                yield str(member.name_in("mmpretrain"))
    yield from (f"{host}{kind}:{size}" for host in hosts for size in SIZES)


def _settings(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    model = settings_of(checkpoint).get("model")
    backbone = model.get("backbone") if isinstance(model, dict) else None
    return backbone if isinstance(backbone, dict) else {}


def _weights_of(name: str, size: int) -> Mapping[str, torch.Tensor] | None:
    try:
        return backbone_weights(name, size)
    except PretrainError:
        return None  # said for --model, or of a class that needs more than a name


def _no_such(
    init: str,
    model: str | None,
    wanted: Mapping[str, Any] | None,
    checkpoint: Mapping[str, Any],
    reason: str,
) -> CheckpointError:
    """The error for a detector whose backbone is not the one that is asked for."""
    kind = _settings(checkpoint).get("type")
    own = f" ({printable(kind)})" if isinstance(kind, str) else ""
    if model is None or wanted is None:
        why = f": {reason}" if reason else ""
        return CheckpointError(
            f"{printable(init)} is a detector's or segmentor's checkpoint, and its backbone{own} "
            f"has no name that is known here: name it with --model{why}"
        )
    stem = "backbone."
    theirs = {
        key[len(stem) :]: value
        for key, value in weights_in(checkpoint).state.items()
        if key.startswith(stem)
    }
    difference = compare_state(_as_wide(wanted, theirs), theirs)
    return CheckpointError(
        f"{printable(init)} is a detector's or segmentor's checkpoint whose backbone{own} is "
        f"another than --model {model}:\n{describe_difference(difference)}\nLeave --model out to "
        "take the one in the file, or name its own."
    )
