# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Names of backbones -> configs, and what comes out of them."""

import difflib
import importlib
import inspect
import re
from typing import Any, NamedTuple

import torch
from mmpretrain.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..export import RESNETS
from ..export.architectures import FAMILIES
from .errors import PretrainError
from .families import SIZES, check_arch, check_size, settings_for, size_of

VIT_SMALL = "vit-small"
AVERAGES = 0.1  # share of a batch in BatchNorm's running averages: torch's own
# Libraries whose backbones can be named, with the registries that hold them.
SCOPES = ("mmpretrain", "mmdet", "mmseg")


class Outputs(NamedTuple):
    """What a backbone gives.

    Attributes:
        channels: Of its last output.
        is_map: Whether that is (N, C, H, W), to be pooled; else (N, C).
        grouped: Whether it has convolutions of groups of channels, or of each by itself.
        fixable: Whether it has BatchNorm, and an option that keeps its statistics as they are.
        slow: The smallest share of a batch in BatchNorm's running averages, where that is below
            ``AVERAGES`` and can be set; else None.
    """

    channels: int
    is_map: bool
    grouped: bool = False
    fixable: bool = False
    slow: float | None = None


def known_names() -> list[str]:
    """Short names, then every backbone class of mmpretrain."""
    return [*RESNETS, VIT_SMALL, *sorted(_classes_of(SCOPES[0], ""))]


def is_mocov3_vit(name: str | None) -> bool:
    """Whether a model's name stands for MoCo v3's ViT, which is trained by MoCo v3's recipe."""
    return (name or "").lower() == VIT_SMALL


def is_resnet(name: str) -> bool:
    """Whether a model's name stands for one of the usual ResNets."""
    return name.lower() in RESNETS


def backbone_config(name: str, size: int, splits: int, channels: int = 3) -> dict[str, Any]:
    """Config of a backbone.

    Args:
        name: Of :func:`known_names`, in any case; a class may carry the name of its architecture,
            its depth or its width, as in 'ConvNeXt:tiny', 'ResNeXt:50' and 'MobileNetV2:1.4', and
            that of mmdet or mmseg before its own: 'mmdet.CSPNeXt:tiny'.
        size: Side of the views, in pixels.
        splits: Parts of a batch that ResNets normalise apart, which is what shuffle-BN needs on
            one process.
        channels: Of the images.

    Raises:
        PretrainError: There is none of that name, no such library, or no such architecture; the
            nearest, or those that there are, are named. Or it takes no other images than those of
            3 channels.
    """
    config = _config(name, size, splits)
    if channels != 3:
        kind = MODELS.get(config["type"])
        taken = {key for base in kind.__mro__ for key in inspect.signature(base).parameters}
        if "in_channels" not in taken:
            raise PretrainError(
                f"--model {name}: {config['type']} takes images of 3 channels alone, and these "
                f"have {channels}. Choose another, such as resnet18."
            )
        config["in_channels"] = channels
    return config


def _config(name: str, size: int, splits: int) -> dict[str, Any]:
    short = name.lower()
    if short in RESNETS:
        # Blocks start as identities, as a detector's do (docs/lab/results.md).
        return dict(
            type="ResNet",
            depth=RESNETS[short][0],
            norm_cfg=dict(type="SplitBN", num_splits=splits) if splits > 1 else dict(type="BN"),
            zero_init_residual=True,
        )
    if short == VIT_SMALL:
        return dict(
            type="MoCoV3ViT",
            arch="mocov3-small",
            img_size=size,
            patch_size=16,
            stop_grad_conv1=True,
            frozen_stages=-1,
            norm_eval=False,
        )
    kind, _, arch = name.partition(":")
    scope, _, bare = kind.rpartition(".")
    classes = _classes_of(scope or SCOPES[0], name)
    lower = {known.lower(): known for known in classes}
    if bare.lower() not in lower:
        raise PretrainError(_unknown(name, scope, sorted(classes)))
    bare = lower[bare.lower()]
    kind = bare if scope in ("", SCOPES[0]) else f"{scope}.{bare}"
    config = dict(type=kind, **_architecture(kind, classes[bare], arch))
    return {**config, **settings_for(kind, classes[bare], size)}


def check_image_size(name: str, size: int) -> None:
    """Refuses a side of the views that a backbone's patches do not divide.

    Args:
        name: As for :func:`backbone_config`.
        size: In pixels.

    Raises:
        PretrainError: Names the nearest that fit; or there is no such backbone.
    """
    config = backbone_config(name, size, 1)
    check_size(config["type"].split(".")[-1], config, MODELS.get(config["type"]), size)


def probe(config: dict[str, Any], size: int, channels: int = 3) -> Outputs:
    """Build a backbone and look at what it makes of images of ``size`` pixels.

    Raises:
        PretrainError: It cannot be built, takes no such images, or gives nothing to learn from.
    """
    named = f"--model: {config['type']}"
    model = _build(config)
    try:
        model.eval()  # which returns None in many of them
        with torch.no_grad():
            out: Any = model(torch.zeros(2, channels, size, size))
    except Exception as error:  # whatever a backbone may raise on images that it is not made for
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise PretrainError(
            f"{named} does not take images of {channels} channels and {size} px: {reason[0][:300]}"
        ) from error
    outputs = list(out) if isinstance(out, tuple | list) else [out]
    if (
        len(outputs) != 1
        or not isinstance(outputs[0], torch.Tensor)
        or outputs[0].ndim not in (2, 4)
    ):
        shapes = [tuple(getattr(part, "shape", ())) for part in outputs]
        raise PretrainError(
            f"{named} gives {shapes} where one map (N, C, H, W) or vector (N, C) is asked. Choose "
            "another, or write a config (configs/xmoco_r50_1xb64_folder.py is one to start from)."
        )
    grouped = any(isinstance(part, nn.Conv2d) and part.groups > 1 for part in model.modules())
    fixable = any(isinstance(part, _BatchNorm) for part in model.modules()) and any(
        "norm_eval" in inspect.signature(kind).parameters
        for kind in type(model).__mro__[:-1]  # but for object
    )
    shares = [part.momentum for part in model.modules() if isinstance(part, _BatchNorm)]
    slow = min((share for share in shares if share is not None), default=AVERAGES)
    slow = slow if slow < AVERAGES and _norm_of(config["type"]) else None
    return Outputs(int(outputs[0].shape[1]), outputs[0].ndim == 4, grouped, fixable, slow)


def with_averages(config: dict[str, Any], share: float) -> dict[str, Any]:
    """A backbone's config, with another share of a batch in BatchNorm's running averages."""
    norm = config.get("norm_cfg") or _norm_of(config["type"])
    return config | dict(norm_cfg=dict(norm or {}) | dict(momentum=share))


def backbone_weights(name: str, size: int) -> dict[str, torch.Tensor]:
    """The random weights of a backbone, by key.

    Args:
        name: As for :func:`backbone_config`.
        size: Side of the views, in pixels.

    Raises:
        PretrainError: It cannot be built.
    """
    config = backbone_config(name, size, 1)
    return _build(config).state_dict()


def _norm_of(kind: str) -> dict[str, Any] | None:
    """The norm that a class of backbones takes by default; None where it has no such option."""
    for part in MODELS.get(kind).__mro__[:-1]:  # but for object
        taken = inspect.signature(part).parameters.get("norm_cfg")
        if taken is not None:
            return taken.default if isinstance(taken.default, dict) else None
    return None


def _architecture(kind: str, cls: type, named: str) -> dict[str, Any]:
    """The parameters that tell backbones of a class apart, with their values; none where none is.

    Raises:
        PretrainError: The class lists what it has, and that is not among it.
    """
    if kind in SIZES:
        return size_of(kind, named)
    if not named:
        return {}
    bare = kind.split(".")[-1]
    for family in FAMILIES:
        for value, *_ in family.members:
            if family.kind == bare and str(value).lower() == named.lower():
                return {family.setting: value}
    setting, value = ("depth", int(named)) if named.isdigit() else ("arch", named)
    check_arch(kind, cls, setting, value)
    return {setting: value}


def _unknown(name: str, scope: str, known: list[str]) -> str:
    """That a library has no such backbone, what is near, and what there is."""
    short = {n.lower(): n for n in known}
    if not scope:
        short |= {n: n for n in (*RESNETS, VIT_SMALL)}
        short |= {n.split(".")[1].lower(): n for n in SIZES}
    asked = name.lower() if not scope else name.split(":")[0].rpartition(".")[2].lower()
    near = difflib.get_close_matches(asked, list(short), n=3, cutoff=0.5)
    near += [n for n in (asked.partition(":")[0],) if n in short and n not in near]
    before = f"{scope}." if scope else ""
    hint = f" Nearest: {', '.join(before + short[n] for n in near)}." if near else ""
    there = (
        f"There are {', '.join(known)}."
        if scope
        else f"Short names: {', '.join([*RESNETS, VIT_SMALL])}; or a class such as ConvNeXt, or "
        "ConvNeXt:tiny, or mmdet.CSPNeXt:tiny."
    )
    return f"--model {name}: {scope or SCOPES[0]} has no such backbone.{hint} {there}"


def _build(config: dict[str, Any]) -> torch.nn.Module:
    try:
        return MODELS.build(config)
    except Exception as error:  # whatever a backbone may say of its arguments
        raise PretrainError(
            f"--model: {config['type']} cannot be built like this: {str(error).rstrip('.')}. Its "
            f"architecture or depth may be missing: --model {config['type']}:NAME or "
            f"--model {config['type']}:NUMBER."
        ) from error


def _classes_of(scope: str, name: str) -> dict[str, type]:
    """The backbones of a library, by name.

    Raises:
        PretrainError: It is none of :data:`SCOPES`, or cannot be imported.
    """
    if scope not in SCOPES:
        near = difflib.get_close_matches(scope, SCOPES, n=1)
        hint = f" Nearest: {near[0]}." if near else ""
        raise PretrainError(
            f"--model {name}: {scope} is no library whose backbones are known: "
            f"{', '.join(SCOPES)}.{hint}"
        )
    try:
        importlib.import_module(f"{scope}.models")
        registry = importlib.import_module(f"{scope}.registry").MODELS
    except (ImportError, AssertionError) as error:  # mmdet asserts its versions
        raise PretrainError(
            f"--model {name}: {scope}, with mmcv's compiled ops, is not installed here ({error}). "
            "In a checkout: make setup-transfer. Elsewhere: docs/detector.md."
        ) from error
    pattern = re.compile(rf"{scope}\.models\.backbones\.(?!base_)")
    return {n: cls for n, cls in registry.module_dict.items() if pattern.match(cls.__module__)}
