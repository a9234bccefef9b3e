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
from ..export.detectors import takes_rgb
from ..untrusted import SettingsRefusedError, check_model_settings, printable
from ..untrusted.run_settings import reason as refused_for
from ..weights import check_kinds
from .errors import TeacherError
from .network import MEAN, STD, FrozenTeacher

TIMM = "timm_model."  # what mmpretrain puts before timm's names
Inputs = tuple[tuple[float, ...], tuple[float, ...], bool]  # mean, std, whether BGR
IMAGENET: Inputs = (MEAN, STD, False)


class Source(NamedTuple):
    """A teacher's network with its weights.

    Attributes:
        name: Of the file or network, as messages show it.
        settings: Config of the backbone, for mmpretrain's registry.
        backbone: Built, with the weights.
        mean, std: Of its training, in 0..255, in the order of its channels.
        digest: Of weights, network and what it is given.
        bgr: Whether it takes colours as BGR.
        value_range: What its training read as 0 and 255, where it was on images of many channels.
    """

    name: str
    settings: dict[str, Any]
    backbone: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    bgr: bool = False
    value_range: tuple[float, float] | None = None

    def frozen(self, size: int, pictures: bool = True) -> FrozenTeacher:
        """The network as it is asked, with images of so many pixels a side.

        Args:
            size: In pixels.
            pictures: Whether it is shown pictures, and not channels of images of many.
        """
        return FrozenTeacher(self.backbone, size, self.mean, self.std, self.bgr, pictures)


def open_file(
    path: str | Path,
    settings: Mapping[str, Any] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    name: str = "",
    bgr: bool | None = None,
    usual: Inputs = IMAGENET,
) -> Source:
    """Reads a teacher from a file that the project reads.

    Args:
        path: A checkpoint of ours, of mmpretrain, torchvision or timm.
        settings: Config of the backbone; default: what the file, or ``config.py`` beside an
            export, says, else what its layers show.
        mean, std: Of its training; default: what the file says, else the usual.
        name: For messages; default: the file's.
        bgr: Whether it takes BGR; default: what the file says, else the usual.
        usual: What is taken where the file does not say; default: ImageNet's, in RGB.

    Raises:
        CheckpointError: The file cannot be read.
        TeacherError: It does not say which network it is, or holds another one's weights.
    """
    path = Path(path).expanduser()
    checkpoint = read_checkpoint(path)
    stored = _stored(checkpoint, path, settings is not None)
    pixels = stored["model"].get("data_preprocessor") or stored.get("data_preprocessor")
    chosen = dict(settings) if settings is not None else stored["model"].get("backbone")
    if not chosen:
        chosen = _by_its_layers(checkpoint, path)
    chosen = check_model_settings(chosen, path)
    chosen = _without_splits(chosen)
    backbone = _build(chosen, path)
    state = _weights(checkpoint, chosen, backbone, path)
    backbone.load_state_dict(state, strict=False)
    backbone.eval()  # which returns None in many of them
    said = inputs_of(pixels) if pixels else usual
    mean, std = tuple(mean or said[0]), tuple(std or said[1])
    bgr = said[2] if bgr is None else bgr
    digest = _digest(backbone, chosen, mean, std, bgr)
    inputs = mean, std, digest, bgr, _value_range(pixels)
    return Source(name or path.name, chosen, backbone, *inputs)


def _value_range(preprocessor: Mapping[str, Any] | None) -> tuple[float, float] | None:
    values = (preprocessor or {}).get("value_range")
    if not isinstance(values, list | tuple) or not {*map(type, values)} <= {int, float}:
        return None
    return (values[0], values[1]) if len(values) == 2 else None


def inputs_of(preprocessor: Mapping[str, Any] | None) -> Inputs:
    """Mean, std and whether colours are BGR, by the settings of a host's preprocessor.

    One that says nothing of an order leaves BGR, as it is read; one without a mean normalises
    nothing. Without any, a network is taken for one of ImageNet in RGB.
    """
    if not preprocessor:
        return IMAGENET
    mean, std = preprocessor.get("mean"), preprocessor.get("std")
    # Of images of many channels, whose reader has no order of colours.
    bgr = "value_range" not in preprocessor and not takes_rgb(preprocessor)
    if mean is None or std is None:
        return (0.0,), (1.0,), bgr
    return tuple(mean), tuple(std), bgr


def _without_splits(settings: dict[str, Any]) -> dict[str, Any]:
    """A backbone's config with BN for SplitBN, which is the same outside of training."""
    norm = dict(settings.get("norm_cfg") or {})
    if str(norm.get("type")).split(".")[-1] != "SplitBN":
        return settings
    norm = {k: v for k, v in norm.items() if k not in ("type", "num_splits")}
    kept = {k: v for k, v in settings.items() if k != "norm_cfg"}
    return kept | (dict(norm_cfg=dict(type="BN", **norm)) if norm else {})


def _stored(checkpoint: Mapping[str, Any], path: Path, named: bool) -> dict[str, Any]:
    """The settings of the model that come with a checkpoint, through the gate; 'model' is there.

    Those that may not be built are as good as none, where the network is named.
    """
    try:
        found, source = stored_settings(checkpoint, path)
    except CheckpointError as error:
        raise TeacherError(str(error)) from None
    if not isinstance(found.get("model"), dict) or "_base_" in found:
        return {"model": {}}
    built = {k: found[k] for k in ("model", "data_preprocessor") if found.get(k) is not None}
    try:
        return check_model_settings(built, source)
    except SettingsRefusedError as error:
        if named:
            return {"model": {}}
        raise TeacherError(
            f"{refused_for(error)}. Name the network: --teacher-model NAME"
        ) from None


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


def _digest(backbone: nn.Module, settings: dict, mean: tuple, std: tuple, bgr: bool) -> str:
    said = (sorted(settings.items()), mean, std, *["BGR"] * bgr)
    found = hashlib.blake2b(repr(said).encode(), digest_size=16)
    for key, value in sorted(backbone.state_dict().items()):
        found.update(key.encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
