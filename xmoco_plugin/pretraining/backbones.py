# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Names of backbones -> configs, and what comes out of them."""

import difflib
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

VIT_SMALL = "vit-small"
ROOM = "mmpretrain.models.backbones"


class Outputs(NamedTuple):
    """What a backbone gives.

    Attributes:
        channels: Of its last output.
        is_map: Whether that is (N, C, H, W), to be pooled; else (N, C).
        grouped: Whether it has convolutions of groups of channels, or of each by itself.
        fixable: Whether it has BatchNorm, and an option that keeps its statistics as they are.
    """

    channels: int
    is_map: bool
    grouped: bool = False
    fixable: bool = False


def known_names() -> list[str]:
    """Short names, then every backbone class of mmpretrain."""
    return [*RESNETS, VIT_SMALL, *sorted(_classes())]


def is_mocov3_vit(name: str | None) -> bool:
    """Whether a model's name stands for MoCo v3's ViT, which is trained by MoCo v3's recipe."""
    return (name or "").lower() == VIT_SMALL


def backbone_config(name: str, size: int, splits: int, channels: int = 3) -> dict[str, Any]:
    """Config of a backbone.

    Args:
        name: Of :func:`known_names`, in any case; a class may carry the name of its architecture,
            its depth or its width, as in 'ConvNeXt:tiny', 'ResNeXt:50' and 'MobileNetV2:1.4'.
        size: Side of the views, in pixels.
        splits: Parts of a batch that ResNets normalise apart, which is what shuffle-BN needs on
            one process.
        channels: Of the images.

    Raises:
        PretrainError: There is none of that name; the nearest are named. Or it takes no other
            images than those of 3 channels.
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
    classes = {known.lower(): known for known in _classes()}
    if kind.lower() not in classes:
        near = difflib.get_close_matches(short, [n.lower() for n in known_names()], n=3, cutoff=0.5)
        original = {n.lower(): n for n in known_names()}
        hint = f" Nearest: {', '.join(original[n] for n in near)}." if near else ""
        raise PretrainError(
            f"--model {name}: mmpretrain has no such backbone.{hint} Short names: "
            f"{', '.join([*RESNETS, VIT_SMALL])}; or a class such as ConvNeXt, or ConvNeXt:tiny."
        )
    kind = classes[kind.lower()]
    return dict(type=kind, **_architecture(kind, arch), **_small_maps(kind, size))


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
    return Outputs(int(outputs[0].shape[1]), outputs[0].ndim == 4, grouped, fixable)


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


def _architecture(kind: str, named: str) -> dict[str, Any]:
    """The parameter that tells backbones of a class apart, with its value; none where none is."""
    if not named:
        return {}
    for family in FAMILIES:
        for value, *_ in family.members:
            if family.kind == kind and str(value).lower() == named.lower():
                return {family.setting: value}
    return {"depth": int(named)} if named.isdigit() else {"arch": named}


def _small_maps(kind: str, size: int) -> dict[str, Any]:
    """Lets windows be larger than the last maps of views of so many pixels, which else are none."""
    taken = inspect.signature(MODELS.get(kind)).parameters
    if "pad_small_map" not in taken or size // 32 >= taken["window_size"].default:
        return {}
    return {"pad_small_map": True}


def _build(config: dict[str, Any]) -> torch.nn.Module:
    try:
        return MODELS.build(config)
    except Exception as error:  # whatever a backbone may say of its arguments
        raise PretrainError(
            f"--model: {config['type']} cannot be built like this: {str(error).rstrip('.')}. Its "
            f"architecture or depth may be missing: --model {config['type']}:NAME or "
            f"--model {config['type']}:NUMBER."
        ) from error


def _classes() -> set[str]:
    pattern = re.compile(rf"{re.escape(ROOM)}\.(?!base_)")
    return {name for name, cls in MODELS.module_dict.items() if pattern.match(cls.__module__)}
