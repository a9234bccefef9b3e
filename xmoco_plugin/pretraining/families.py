# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What single families of backbones need in a pretraining: their sizes, settings, and why."""

import difflib
import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

from .errors import PretrainError

# RTMDet's and YOLOX's: (depth, width) as shares of size l's.
_CSP = {
    "nano": (0.33, 0.25),
    "tiny": (0.167, 0.375),
    "s": (0.33, 0.5),
    "m": (0.67, 0.75),
    "l": (1.0, 1.0),
    "x": (1.33, 1.25),
}
# SegFormer's: width of the first stage, layers of each.
_MIT = {
    "b0": (32, [2, 2, 2, 2]),
    "b1": (64, [2, 2, 2, 2]),
    "b2": (64, [3, 4, 6, 3]),
    "b3": (64, [3, 4, 18, 3]),
    "b4": (64, [3, 8, 27, 3]),
    "b5": (64, [3, 6, 40, 3]),
}


def _csp(*names: str, **other: tuple[float, float]) -> dict[str, dict[str, Any]]:
    factors = {**{name: _CSP[name] for name in names}, **other}
    return {n: dict(deepen_factor=deep, widen_factor=wide) for n, (deep, wide) in factors.items()}


# Of classes that have no architectures by name of their own.
SIZES: dict[str, dict[str, dict[str, Any]]] = {
    "mmdet.CSPNeXt": _csp("tiny", "s", "m", "l", "x"),
    # YOLOX-nano has depthwise convolutions, and YOLOX-tiny is as deep as s.
    "mmdet.CSPDarknet": {
        "nano": dict(**_csp("nano")["nano"], use_depthwise=True),
        **_csp("s", "m", "l", "x", tiny=(0.33, 0.375)),
    },
    "mmseg.MixVisionTransformer": {
        name: dict(embed_dims=width, num_layers=layers, num_heads=[1, 2, 5, 8])
        for name, (width, layers) in _MIT.items()
    },
}


class Need(NamedTuple):
    """What a family needs.

    Attributes:
        settings: Of its class.
        why: Of them, in words.
    """

    settings: dict[str, Any]
    why: str


NEEDS = {
    "mmdet.CSPNeXt": Need(
        dict(norm_cfg=dict(type="BN")),
        "BatchNorm with eps 1e-5, as in RTMDet (the class's own is 1e-3)",
    ),
}
# Pixels by which the side of a view must be divisible, or some of it is cut off or padded: patches,
# and how often their side is doubled.
PATCHES = {"SwinTransformer": (4, 3), "SwinTransformerV2": (4, 3), "ConvNeXt": (4, 3)}


def default_of(cls: type, name: str) -> Any:
    """What a parameter of a class is by default, those of its parents too; None where none is."""
    for kind in cls.__mro__[:-1]:  # but for object
        if "__init__" in vars(kind):
            found = inspect.signature(kind).parameters.get(name)
            if found is not None:
                return None if found.default is inspect.Parameter.empty else found.default
    return None


def settings_for(kind: str, cls: type, size: int) -> dict[str, Any]:
    """Settings that a pretraining needs and a class has not by default.

    Args:
        kind: Its name, with a scope where it is not mmpretrain's.
        cls: The class.
        size: Side of the views, in pixels.
    """
    found = dict(NEEDS[kind].settings) if kind in NEEDS else {}
    stages = default_of(cls, "out_indices")
    if "." in kind and isinstance(stages, tuple | list) and len(stages) > 1:
        found["out_indices"] = (max(stages),)
    # Images are told apart by one pass of each encoder, so no layer is left out by chance.
    if default_of(cls, "drop_path_rate"):
        found["drop_path_rate"] = 0.0
    if default_of(cls, "norm_eval") is True:
        found["norm_eval"] = False
    window = default_of(cls, "window_size")
    if default_of(cls, "pad_small_map") is False and size // 32 < window:
        found["pad_small_map"] = True
    return found


def reasons(config: Mapping[str, Any]) -> list[str]:
    """What was chosen for a backbone of a config of ours, in words; often nothing."""
    said = [NEEDS[config["type"]].why] if config["type"] in NEEDS else []
    if "." in config["type"] and "out_indices" in config:
        said.append("the last of its outputs is trained on, a detector takes several")
    if config.get("drop_path_rate") == 0:
        said.append("drop path is off, so that a key differs from its query by the views alone")
    if "." in config["type"] and config.get("norm_eval") is False:
        said.append("BatchNorm follows the batches")
    if config.get("pad_small_map"):
        said.append("maps smaller than a window are padded to one")
    return said


def check_size(kind: str, config: Mapping[str, Any], cls: type, size: int) -> None:
    """Refuses views whose side is no multiple of a backbone's patches.

    Args:
        kind: Name of the class, without a scope.
        config: Its settings; `cls`: the class.
        size: Side of the views, in pixels.

    Raises:
        PretrainError: Names the sizes nearest to it.
    """
    if kind in PATCHES:
        patch, doublings = PATCHES[kind]
        unit, what = patch << doublings, f"patches of {patch} px, doubled {doublings} times"
    elif default_of(cls, "img_size") is None:
        return
    else:
        found = config.get("patch_size") or default_of(cls, "patch_size")
        if not isinstance(found, int):
            return
        unit, what = found, f"patches of {found} px"
    if size % unit:
        below = size // unit * unit
        near = f"{below} or {below + unit}" if below else str(unit)
        raise PretrainError(
            f"--image-size {size}: {config['type']} cuts images into {what}, so that the side is a "
            f"multiple of {unit}: {near}."
        )


def size_of(kind: str, named: str) -> dict[str, Any]:
    """The settings that the name of a size stands for.

    Args:
        kind: Key of :data:`SIZES`.
        named: Of the size, in any case; empty for the class as it is.

    Raises:
        PretrainError: There is none of that name; those that there are, are named.
    """
    if not named:
        return {}
    sizes = SIZES[kind]
    if named.lower() not in sizes:
        raise PretrainError(_no_size(kind, named, list(sizes)))
    return sizes[named.lower()]


def check_arch(kind: str, cls: type, setting: str, value: Any) -> None:
    """Refuses an architecture that a class does not list.

    Args:
        kind: Its name; `cls`: the class.
        setting: The parameter that has the value: 'arch' or 'depth'.
        value: Of it.

    Raises:
        PretrainError: Those that there are, are named.
    """
    known = getattr(cls, "arch_settings", None) or getattr(cls, "arch_zoo", None)
    if not isinstance(known, dict) or setting not in ("arch", "depth"):
        return
    if str(value).lower() not in {str(name).lower() for name in known}:
        raise PretrainError(_no_size(kind, str(value), list(map(str, known))))


def _no_size(kind: str, named: str, sizes: list[str]) -> str:
    near = difflib.get_close_matches(named.lower(), sizes, n=1, cutoff=0.6)
    hint = f" Nearest: {near[0]}." if near else ""
    return f"--model {kind}:{named}: {kind} has no {named}.{hint} There are {', '.join(sizes)}."
