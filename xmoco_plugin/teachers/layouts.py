# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Large networks as FAIR, transformers, timm and others publish them, in one layout: FAIR's."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from ..export.names import VIT_MARKS, rename_vit
from ..export.places import FOLLOWS, weights_in

# What the patch embedding is called: FAIR and timm, transformers (twice), mmpretrain, torchvision.
VIT_ENDS = (
    "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.weight",
    "embeddings.patch_embeddings.weight",
    "patch_embed.projection.weight",
    "conv_proj.weight",
)
CONVNEXT_ENDS = ("stages.0.0.dwconv.weight", "stages.0.layers.0.depthwise_conv.weight")
FIRST = ("teacher.backbone.", "teacher.")  # DINO's own evaluation takes these
# transformers' names of a vision transformer, and FAIR's.
TRANSFORMERS = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"embeddings\.(cls_token|mask_token)", r"\1"),
        (r"embeddings\.position_embeddings", "pos_embed"),
        (r"embeddings\.register_tokens", "register_tokens"),
        (r"embeddings\.patch_embeddings(?:\.projection)?\.(\w+)", r"patch_embed.proj.\1"),
        (r"(?:layernorm|norm)\.(weight|bias)", r"norm.\1"),
        (r"(?:encoder\.|model\.)?layer\.(\d+)\.(.+)", r"blocks.\1.\2"),
    )
)
IN_BLOCK = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"attention\.(?:attention\.)?(query|key|value|[qkv]_proj)\.", r"attn.\1."),
        (r"attention\.(?:output\.dense|o_proj)\.", "attn.proj."),
        (r"layernorm_before\.", "norm1."),
        (r"layernorm_after\.", "norm2."),
        (r"layer_scale(\d)\.lambda1", r"ls\1.gamma"),
        (r"intermediate\.dense\.", "mlp.fc1."),
        (r"output\.dense\.", "mlp.fc2."),
        (r"mlp\.weights_in\.", "mlp.w12."),
        (r"mlp\.weights_out\.", "mlp.w3."),
    )
)
GATED = {"gate_proj": "w1", "up_proj": "w2", "down_proj": "w3"}
UNGATED = {"up_proj": "fc1", "down_proj": "fc2"}
QKV = (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))
# Layers of a vision transformer, by FAIR's names and those that timm has beside them.
LAYER = re.compile(
    r"cls_token|pos_embed|(register|storage)_tokens|reg_token|(patch_embed\.proj|norm)\.(weight|bias)"
    r"|blocks\.\d+\.((norm[12]|attn\.(qkv|proj)|mlp\.(fc1(_g|_x)?|fc2|w1|w2|w12|w3))\.(weight|bias)"
    r"|attn\.[qv]_bias|ls[12]\.gamma|gamma_[12])"
)
# What such files hold beside them; bias_mask and periods have been looked at.
BESIDE = re.compile(
    r"mask_token|rope_embed\.periods|rope_embeddings\..*|.*\.bias_mask|local_cls_norm\..*"
    r"|(pooler|heads?|fc|classifier|decoder\w*|\w*_head|predictor|projectors?)(\..*)?"
)
# Names of a ConvNeXt: of FAIR and of transformers, and mmpretrain's.
CONVNEXT = tuple(
    (re.compile(pattern), name)
    for pattern, name in (
        (r"stages\.(\d+)\.downsample_layers\.", r"downsample_layers.\1."),
        (r"(stages\.\d+)\.layers\.", r"\1."),
        (r"(stages\.\d+\.\d+)\.layer_norm\.", r"\1.norm."),
        (r"^(?:layer_norm|norm)\.", "norm3."),
        (r"\.dwconv\.", ".depthwise_conv."),
        (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    )
)
CONVNEXT_BESIDE = re.compile(r"norms\.|head\.|classifier\.|projectors\.")


class Layers(NamedTuple):
    """A network that was found in a file.

    Attributes:
        kind: 'vit', or 'convnext'.
        state: Its tensors: of a vision transformer in FAIR's names, whatever library wrote them;
            of a ConvNeXt in mmpretrain's.
        left_out: Keys of the file that are of none of its layers.
        prefix: What stood before its keys.
        beside: What stood among them and is none of its layers, by key.
    """

    kind: str
    state: dict[str, torch.Tensor]
    left_out: list[str]
    prefix: str
    beside: dict[str, torch.Tensor]


def layers_of(checkpoint: Mapping[str, Any]) -> Layers | None:
    """The vision transformer or ConvNeXt in a file, by its names; None where there is none.

    A transformer with further kinds of layers, such as a table of relative positions, is none.
    Of several the one is taken that DINO calls the teacher, else the first that follows no other.

    Raises:
        CheckpointError: 'state_dict' is no dict.
    """
    state, keys = weights_in(checkpoint)
    for prefix in _prefixes(state):
        part = {key[len(prefix) :]: v for key, v in state.items() if key.startswith(prefix)}
        for kind, read in (("vit", _vit), ("convnext", _convnext)):
            found = read(part)
            if found is not None:
                used = {prefix + key for key in part if key not in found[1]}
                rest = [key for plain, key in keys.items() if plain not in used]
                beside = {keys[prefix + key]: part[key] for key in found[1]}
                return Layers(kind, found[0], rest, prefix, beside)
    return None


def _prefixes(state: Mapping[str, Any]) -> list[str]:
    """What stands before the keys of networks, the likeliest first."""
    found = {
        key[: -len(end)]
        for key in state
        for end in (*VIT_ENDS, *CONVNEXT_ENDS)
        if key == end or key.endswith(f".{end}")
    }
    order = {prefix: place for place, prefix in enumerate(FIRST)}
    return sorted(
        found,
        key=lambda p: (order.get(p, 9), bool(FOLLOWS.search(p.rstrip("."))), p.count("."), p),
    )


Found = tuple[dict[str, torch.Tensor], set[str]]  # tensors; keys that were not needed


def _vit(part: Mapping[str, torch.Tensor]) -> Found | None:
    names = _fair_names(part)
    beside = {key for key, name in names.items() if BESIDE.fullmatch(name)}
    kept = {name: part[key] for key, name in names.items() if key not in beside}
    if any(name.endswith(".attn.qkv.bias") for name in kept):
        kept = _with_masks(kept, part)
    state = _joined(kept)
    whole = {"cls_token", "patch_embed.proj.weight", "blocks.0.attn.qkv.weight"} <= set(state)
    if not whole or not all(_is_layer(name, value) for name, value in state.items()):
        return None
    return state, beside


def _is_layer(name: str, value: torch.Tensor) -> bool:
    """Whether a name is of a vision transformer's layer, and a tensor has its dimensions."""
    if not LAYER.fullmatch(name):
        return False
    if name == "patch_embed.proj.weight":
        return value.ndim == 4
    if "_token" in name or name == "pos_embed":
        return value.ndim == 3
    matrix = name.endswith(".weight") and "norm" not in name
    return value.ndim == (2 if matrix else 1)


def _fair_names(part: Mapping[str, Any]) -> dict[str, str]:
    """FAIR's name of each key; keys of unknown layers keep theirs."""
    known = [library for library, mark in VIT_MARKS.items() if mark in part and library != "timm"]
    if known:
        renamed = {key: rename_vit(key, known[0], "timm") or key for key in part}
        gated = {"ffn.w12.": "mlp.w12.", "ffn.w3.": "mlp.w3."}
        pattern = re.compile(r"layers\.(\d+)\.(ffn\.w12\.|ffn\.w3\.)")
        return {
            key: pattern.sub(lambda m: f"blocks.{m[1]}.{gated[m[2]]}", name)
            for key, name in renamed.items()
        }
    if not any(key.startswith("embeddings.") for key in part):
        # Blocks in chunks keep their own number as the second.
        return {key: re.sub(r"^blocks\.\d+\.(?=\d+\.)", "blocks.", key) for key in part}
    names = {}
    mlp = GATED if any("gate_proj" in key for key in part) else UNGATED
    rope = "embeddings.position_embeddings" not in part
    for key in part:
        name = key
        for pattern, new in TRANSFORMERS:
            if found := pattern.fullmatch(key):
                name = found.expand(new)
                break
        if name.startswith("blocks."):
            for pattern, new in IN_BLOCK:
                name = pattern.sub(new, name, count=1)
            for theirs, ours in mlp.items():
                name = name.replace(f".{theirs}.", f".{ours}.")
        names[key] = name.replace("register_", "storage_") if rope else name
    return names


def _joined(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """With queries, keys and values as one; a bias that one of them lacks is zero."""
    parts: dict[tuple[str, str], dict[int, torch.Tensor]] = {}
    found = {}
    for key, value in state.items():
        *stem, layer, kind = ["", *key.split(".")]
        place = next((i for i, names in enumerate(QKV) if layer in names), None)
        if place is None:
            found[key] = value
        else:
            parts.setdefault((".".join(stem[1:]), kind), {})[place] = value
    for (stack, kind), values in parts.items():
        alike = len({value.shape for value in values.values()}) == 1
        # DINOv3's keys have no bias.
        needed = {0, 2} if kind == "bias" and "pos_embed" not in state else {0, 1, 2}
        if not alike or not needed <= set(values):
            found |= {f"{stack}.{QKV[i][1]}.{kind}": value for i, value in values.items()}
            continue
        zero = torch.zeros_like(next(iter(values.values())))
        found[f"{stack}.qkv.{kind}"] = torch.cat([values.get(i, zero) for i in range(len(QKV))])
    return found


def _with_masks(
    state: dict[str, torch.Tensor], part: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """With biases as they act, where a mask stands beside them."""
    masked = {}
    for key, value in state.items():
        mask = part.get(f"{key}_mask")
        fits = mask is not None and mask.shape == value.shape
        masked[key] = value * mask.to(value.dtype) if mask is not None and fits else value
    return masked


def _convnext(part: Mapping[str, torch.Tensor]) -> Found | None:
    if not any(end in part for end in CONVNEXT_ENDS):
        return None
    beside = {key for key in part if CONVNEXT_BESIDE.match(key)}
    return dict(_convnext_names(part, beside)), beside


def _convnext_names(
    part: Mapping[str, torch.Tensor], beside: set[str]
) -> Iterator[tuple[str, torch.Tensor]]:
    for key, value in part.items():
        if key in beside:
            continue
        name = key
        for pattern, new in CONVNEXT:
            name = pattern.sub(new, name)
        # transformers has the first convolution and its norm as others have them.
        yield name, value
