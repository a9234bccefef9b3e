# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""From a file of weights to a teacher: which network it is, and that all its weights are there."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

from ..checkpoint import (
    CheckpointError,
    compare_state,
    describe_difference,
    read_checkpoint,
    state_dict_of,
)
from ..export import architecture, find_backbone, known_config, stored_settings
from ..untrusted import check_model_settings, printable
from ..weights import check_kinds
from .errors import TeacherError
from .network import MEAN, STD

TIMM = "timm_model."  # what mmpretrain puts before timm's names


class Source(NamedTuple):
    """A teacher's network with its weights.

    Attributes:
        name: Of the file or network, as messages show it.
        settings: Config of the backbone, for mmpretrain's registry.
        backbone: Built, with the weights.
        mean, std: Of its training, in 0..255.
        digest: Of weights, network and normalisation.
    """

    name: str
    settings: dict[str, Any]
    backbone: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str


def open_file(
    path: str | Path,
    settings: Mapping[str, Any] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    name: str = "",
) -> Source:
    """Reads a teacher from a file that the project reads.

    Args:
        path: A checkpoint of ours, of mmpretrain, torchvision or timm.
        settings: Config of the backbone; default: what the file, or ``config.py`` beside an
            export, says, else what its layers show.
        mean, std: Of its training; default: what the file says, else ImageNet's.
        name: For messages; default: the file's.

    Raises:
        CheckpointError: The file cannot be read.
        TeacherError: It does not say which network it is, or holds another one's weights.
    """
    path = Path(path).expanduser()
    checkpoint = read_checkpoint(path)
    stored = _stored(checkpoint, path)
    pixels = stored.get("data_preprocessor") or stored["model"].get("data_preprocessor") or {}
    chosen = dict(settings) if settings is not None else stored["model"].get("backbone")
    if not chosen:
        chosen = _by_its_layers(checkpoint, path)
    chosen = check_model_settings(chosen, path)
    if (chosen.get("norm_cfg") or {}).get("type") == "SplitBN":
        chosen.pop("norm_cfg")  # at test time it is BN
    backbone = _build(chosen, path)
    state = _weights(checkpoint, chosen, backbone, path)
    backbone.load_state_dict(state, strict=False)
    backbone.eval()  # which returns None in many of them
    mean = tuple(mean or pixels.get("mean") or MEAN)
    std = tuple(std or pixels.get("std") or STD)
    return Source(
        name or path.name, chosen, backbone, mean, std, _digest(backbone, chosen, mean, std)
    )


def _stored(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The settings of the model that come with a checkpoint, through the gate; 'model' is there."""
    try:
        found, source = stored_settings(checkpoint, path)
    except CheckpointError as error:
        raise TeacherError(str(error)) from None
    if not isinstance(found.get("model"), dict) or "_base_" in found:
        return {"model": {}}
    built = {k: found[k] for k in ("model", "data_preprocessor") if found.get(k) is not None}
    return check_model_settings(built, source)


def _by_its_layers(checkpoint: Mapping[str, Any], path: Path) -> dict[str, Any]:
    way = (
        f"{printable(path)} does not say which network its weights belong to: name it, "
        "--teacher-model NAME of mmpretrain or timm"
    )
    try:
        state = find_backbone(checkpoint).state
    except (CheckpointError, KeyError) as error:
        raise TeacherError(f"{way} ({printable(str(error))})") from None
    known = known_config(state)
    if known is None:
        raise TeacherError(f"{way} (it is a {architecture(state)})")
    return known


def _build(settings: dict[str, Any], path: Path) -> nn.Module:
    try:
        with DefaultScope.overwrite_default_scope("mmpretrain"), torch.random.fork_rng(devices=[]):
            return MODELS.build(dict(settings))
    except Exception as error:  # whatever a backbone may say of settings that anybody wrote
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TeacherError(
            f"{printable(path)}: the teacher's network {settings.get('type')} cannot be built: "
            f"{printable(reason[:200])}"
        ) from error


def _weights(
    checkpoint: Mapping[str, Any], settings: dict[str, Any], backbone: nn.Module, path: Path
) -> dict[str, Any]:
    ours = backbone.state_dict()
    if settings["type"] == "TIMMBackbone":
        theirs = {k.removeprefix("backbone."): v for k, v in state_dict_of(checkpoint).items()}
        theirs = {k if k.startswith(TIMM) else TIMM + k: v for k, v in theirs.items()}
    else:
        try:
            theirs = find_backbone(checkpoint).state
        except CheckpointError:  # of a family whose names other libraries do not share
            theirs = state_dict_of(checkpoint)
    difference = compare_state(ours, theirs)
    if difference.missing or difference.mismatched:
        raise TeacherError(
            f"{printable(path)} does not hold the weights of a {_named(settings)}:\n"
            f"{describe_difference(difference)}"
        )
    check_kinds(ours, theirs)
    return {key: theirs[key] for key in ours if key in theirs}


def _named(settings: Mapping[str, Any]) -> str:
    which = settings.get("model_name") or settings.get("arch") or settings.get("depth") or ""
    return f"{settings['type']} {which if isinstance(which, str | int) else ''}".strip()


def _digest(backbone: nn.Module, settings: dict, mean: tuple, std: tuple) -> str:
    found = hashlib.blake2b(repr((sorted(settings.items()), mean, std)).encode(), digest_size=16)
    for key, value in sorted(backbone.state_dict().items()):
        found.update(key.encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
