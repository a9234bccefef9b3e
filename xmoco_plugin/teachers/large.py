# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which network large layers belong to, by their sizes; and its weights in the host's names."""

import importlib
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from ..export.alignment import identify, renamed
from ..export.names import rename_vit
from .errors import TeacherError
from .inputs import Inputs
from .layouts import Layers
from .libraries import inputs_of_timm, timm_library
from .network import patch_size, prefix_tokens

# Heads of a vision transformer by its width: those of DeiT, DINO, DINOv2, MAE's huge one.
HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1536: 24}
MOCO_V3 = "base_encoder."
MOCO_V3_HEADS = {384: 12}
# timm's names. DINOv2 by width; DINOv3 by width and whether its inner layers are gated.
DINOV2 = {384: "small", 768: "base", 1024: "large", 1536: "giant"}
DINOV3 = {
    (192, False): "tiny",
    (384, False): "small",
    (384, True): "small_plus",
    (768, False): "base",
    (1024, False): "large",
    (1024, True): "large",  # and gated, which timm has no name for
    (1280, True): "huge_plus",
    (4096, True): "7b",
}
DEPTHS = {1024: 24, 1280: 32, 1536: 40, 4096: 40}  # 12 in the others
SATELLITE = "vit_large_patch16_dinov3_qkvb.sat493m"
ROUNDED = 2**-7  # what FAIR's periods may differ by: they were kept in bfloat16


class Sizes(NamedTuple):
    """What tells vision transformers apart. See :func:`sizes_of`."""

    blocks: int
    width: int
    patch: int
    registers: int

    def __str__(self) -> str:
        registers = f", {self.registers} registers" if self.registers else ""
        return f"{self.blocks} blocks of {self.width} channels, patches of {self.patch} px" + (
            registers
        )


def sizes_of(layers: Layers) -> Sizes:
    """Of a vision transformer in a file."""
    state = layers.state
    registers = _registers(state)
    width, *_, patch = state["patch_embed.proj.weight"].shape
    blocks = {key.split(".")[1] for key in state if key.startswith("blocks.")}
    return Sizes(len(blocks), width, patch, 0 if registers is None else registers.shape[1])


def sizes_of_network(backbone: nn.Module) -> Sizes | None:
    """Of a vision transformer that is built, mmpretrain's or timm's; None of another network."""
    inner = getattr(backbone, "timm_model", backbone)
    blocks = getattr(inner, "blocks", None) or getattr(inner, "layers", None)
    width = getattr(inner, "embed_dim", None) or getattr(inner, "embed_dims", None)
    patch = patch_size(backbone)
    if blocks is None or not isinstance(width, int) or patch is None:
        return None
    return Sizes(len(blocks), width, patch, max(prefix_tokens(backbone, True) - 1, 0))


def network_in(layers: Layers) -> tuple[dict[str, Any], Inputs | None] | None:
    """The config of the network that a file's layers are of, and what its images were.

    Returns:
        None where their sizes do not say; no inputs where they are the usual ones.

    Raises:
        TeacherError: timm has that network, and is not installed.
    """
    if layers.kind == "convnext":
        row = identify(layers.state)
        return (row[0].config, None) if row is not None else None
    state, sizes = layers.state, sizes_of(layers)
    if "pos_embed" not in state:
        return _dinov3(layers, sizes)
    if _registers(state) is not None or _packed(state):
        return _with_registers(state, sizes)
    known = HEADS | (MOCO_V3_HEADS if layers.prefix == MOCO_V3 else {})
    count = known.get(sizes.width)
    if count is None:
        return None
    gated = "blocks.0.mlp.w12.weight" in state
    down = state.get("blocks.0.mlp.w3.weight" if gated else "blocks.0.mlp.fc2.weight")
    if down is None:
        return None
    arch = dict(
        embed_dims=sizes.width,
        num_layers=sizes.blocks,
        num_heads=count,
        feedforward_channels=down.shape[1] * 3 // 2 if gated else down.shape[1],
    )
    config: dict[str, Any] = dict(
        type="VisionTransformer",
        arch=arch,
        img_size=_side(state) * sizes.patch,
        patch_size=sizes.patch,
    )
    if "blocks.0.ls1.gamma" in state:
        config["layer_scale_init_value"] = 1e-5
    if "blocks.0.attn.qkv.bias" not in state:
        config["qkv_bias"] = False
    if not any(key.startswith("norm.") for key in state):
        config["final_norm"] = False
    if gated:
        config["layer_cfgs"] = dict(ffn_type="swiglu_fused")
    return config, None


def takes(layers: Layers, settings: Mapping[str, Any], backbone: nn.Module) -> bool:
    """Whether a network is of the kind that a file's layers are, whatever their sizes."""
    if layers.kind == "convnext":
        return settings["type"] == "ConvNeXt" or "ConvNeXt" in _timm_class(backbone)
    kinds = ("VisionTransformer", "Eva", "VisionTransformerDistilled")
    return settings["type"] == "VisionTransformer" or _timm_class(backbone) in kinds


def on_its_grid(
    settings: Mapping[str, Any], layers: Layers, backbone: nn.Module
) -> dict[str, Any] | None:
    """Settings of a network with the grid of positions that a file has; None where it has it.

    Its positions are then resampled once, to the images that it is shown.
    """
    positions = getattr(getattr(backbone, "timm_model", backbone), "pos_embed", None)
    if layers.kind != "vit" or "pos_embed" not in layers.state or positions is None:
        return None
    side = _side(layers.state)
    if math.isqrt(positions.shape[1]) == side:
        return None
    if settings["type"] != "VisionTransformer" and not settings.get("dynamic_img_size"):
        return None
    return dict(settings) | dict(img_size=side * sizes_of(layers).patch)


def fitted(layers: Layers, backbone: nn.Module) -> dict[str, torch.Tensor]:
    """A file's layers in the names of a network, and as it computes with them.

    Raises:
        TeacherError: They were trained with what the network does not compute.
    """
    inner = getattr(backbone, "timm_model", None)
    if inner is None:
        return _for_mmpretrain(layers)
    if layers.kind == "convnext":
        row = identify(layers.state)
        named = renamed(layers.state, row[0], "mmpretrain", "timm") if row is not None else None
        return {f"timm_model.{key}": value for key, value in (named or layers.state).items()}
    state = dict(layers.state)
    names = {name for name, _ in inner.named_parameters()}
    if "pos_embed" not in state:
        state = _biases(state, "blocks.0.attn.q_bias" in names)
    elif "register_tokens" in state or "blocks.0.mlp.w12.weight" in state:
        state["mask_token"] = torch.zeros(1)  # by which timm tells FAIR's DINOv2 from its own
    converter = importlib.import_module(type(inner).__module__).checkpoint_filter_fn
    return {f"timm_model.{key}": value for key, value in converter(state, inner).items()}


def check_periods(periods: torch.Tensor, backbone: nn.Module) -> None:
    """Compare the periods of a file's rotations with those that a network computes.

    Raises:
        TeacherError: They are others.
    """
    rope = getattr(getattr(backbone, "timm_model", backbone), "rope", None)
    ours = getattr(rope, "periods", None)
    if ours is None:
        return
    if ours.shape != periods.shape:
        raise TeacherError(
            f"its positions turn with {periods.numel():,} periods, and those of the network with "
            f"{ours.numel():,}: it was trained with other settings, which timm does not have"
        )
    if ((periods.float() - ours).abs() > ROUNDED * ours).any():
        raise TeacherError(
            f"its positions turn with periods from {float(periods.min()):.3g} to "
            f"{float(periods.max()):.3g}, and those of the network from {float(ours.min()):.3g} to "
            f"{float(ours.max()):.3g}: it was trained with other settings, which timm does not have"
        )


def _dinov3(layers: Layers, sizes: Sizes) -> tuple[dict[str, Any], Inputs | None] | None:
    state = layers.state
    gated = any(f"blocks.0.mlp.{name}.weight" in state for name in ("w1", "fc1_g"))
    size = DINOV3.get((sizes.width, gated))
    if size is None or sizes.patch != 16 or sizes.registers != 4:
        return None
    biases = "blocks.0.attn.qkv.bias" in state or "blocks.0.attn.q_bias" in state
    name = f"vit_{size}_patch16_dinov3" + ("_qkvb" if biases else "")
    further = dict(swiglu_mlp=True, swiglu_align_to=8) if size == "large" and gated else {}
    # A norm of its own for local crops: the one of satellite pictures, of those of this width.
    local = any("local_cls_norm." in key for key in layers.left_out)
    usual = inputs_of_timm(SATELLITE) if sizes.width == 1024 and local else None
    return _of_timm(name, sizes, further), usual


def _with_registers(
    state: Mapping[str, torch.Tensor], sizes: Sizes
) -> tuple[dict[str, Any], Inputs | None] | None:
    size = DINOV2.get(sizes.width)
    if size is None or "blocks.0.ls1.gamma" not in state:
        return None
    registers = "_reg4" if sizes.registers else ""
    further: dict[str, Any] = dict(img_size=_side(state) * sizes.patch)
    if sizes.patch != 14:
        further["patch_size"] = sizes.patch
    if sizes.registers not in (0, 4):
        further["reg_tokens"] = sizes.registers
    return _of_timm(f"vit_{size}_patch14{registers}_dinov2", sizes, further), None


def _of_timm(name: str, sizes: Sizes, further: Mapping[str, Any]) -> dict[str, Any]:
    if timm_library() is None:
        raise TeacherError(f"it is timm's {name}, and timm is not installed: pip install timm")
    depth = {} if sizes.blocks == DEPTHS.get(sizes.width, 12) else dict(depth=sizes.blocks)
    return dict(type="TIMMBackbone", model_name=name, dynamic_img_size=True, **further, **depth)


def _for_mmpretrain(layers: Layers) -> dict[str, torch.Tensor]:
    if layers.kind == "convnext":
        return layers.state
    gated = {".mlp.w12.": ".ffn.w12.", ".mlp.w3.": ".ffn.w3."}
    found = {}
    for key, value in layers.state.items():
        name = rename_vit(key, "timm", "mmpretrain")
        if name is None:
            name = key
            for theirs, ours in gated.items():
                if theirs in key:
                    name = key.replace("blocks.", "layers.", 1).replace(theirs, ours)
        found[name] = value
    return found


def _biases(state: dict[str, torch.Tensor], wanted: bool) -> dict[str, torch.Tensor]:
    """DINOv3's biases of queries, keys and values, as timm takes them.

    Raises:
        TeacherError: There are some that the network has no place for.
    """
    found = {}
    for key, value in state.items():
        if key.endswith("attn.qkv.bias"):
            if len(value) != 3 * state["cls_token"].shape[-1]:
                raise TeacherError(
                    f"{key} has {len(value):,} numbers, and is of three times a width"
                )
            _, keys, _ = value.chunk(3)
            if keys.any():
                raise TeacherError(f"{key} has a bias of its keys, which timm's DINOv3 lacks")
            if not wanted:
                if value.any():
                    raise TeacherError(
                        f"{key} holds biases, and the network has none: name it with _qkvb, as in "
                        "--teacher-model vit_small_patch16_dinov3_qkvb"
                    )
                continue
        found[key] = value
    return found


def _timm_class(backbone: nn.Module) -> str:
    return type(getattr(backbone, "timm_model", None)).__name__


def _registers(state: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
    names = ("register_tokens", "storage_tokens", "reg_token")
    return next((state[name] for name in names if name in state), None)


def _packed(state: Mapping[str, torch.Tensor]) -> bool:
    """Whether timm has packed the two gated layers into one."""
    up, down = state.get("blocks.0.mlp.fc1.weight"), state.get("blocks.0.mlp.fc2.weight")
    return up is not None and down is not None and up.shape[0] == 2 * down.shape[1]


def _side(state: Mapping[str, torch.Tensor]) -> int:
    """Of the square grid of positions that were learnt."""
    return math.isqrt(state["pos_embed"].shape[1])
