# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One backbone, the names of several libraries: pure functions from keys to keys."""

import re
from collections.abc import Mapping
from typing import Any

# torchvision, timm, mmpretrain, mmdet and mmseg agree on the names of a ResNet.
RESNET_KEY = re.compile(
    r"(?:(?P<stage>layer[1-4])\.(?P<block>\d+)\.)?"
    r"(?P<layer>conv[1-3]|bn[1-3]|downsample\.[01])\."
    r"(?P<value>weight|bias|running_mean|running_var|num_batches_tracked)"
)
DETECTRON2_KEY = re.compile(
    r"(?:stem|res(?P<stage>[2-5])\.(?P<block>\d+))\.(?P<layer>conv[1-3]|shortcut)\."
    r"(?P<norm>norm\.)?(?P<value>weight|bias|running_mean|running_var)"
)
VIT_LIBRARIES = ("mmpretrain", "timm", "torchvision", "mmseg")
# "{i}" is the number of a block; a name that ends in "." or "_" goes on with weight or bias. None
# is a layer that a library does not have.
VIT_NAMES: tuple[tuple[str | None, ...], ...] = (
    ("cls_token", "cls_token", "class_token", "cls_token"),
    ("pos_embed", "pos_embed", "encoder.pos_embedding", "pos_embed"),
    ("patch_embed.projection.", "patch_embed.proj.", "conv_proj.", "patch_embed.projection."),
    *(
        (
            f"layers.{{i}}.{mmpretrain}",
            f"blocks.{{i}}.{timm}",
            f"encoder.layers.encoder_layer_{{i}}.{torchvision}",
            f"layers.{{i}}.{mmseg}",
        )
        for mmpretrain, timm, torchvision, mmseg in (
            ("ln1.", "norm1.", "ln_1.", "ln1."),
            ("attn.qkv.", "attn.qkv.", "self_attention.in_proj_", "attn.attn.in_proj_"),
            ("attn.proj.", "attn.proj.", "self_attention.out_proj.", "attn.attn.out_proj."),
            ("ln2.", "norm2.", "ln_2.", "ln2."),
            ("ffn.layers.0.0.", "mlp.fc1.", "mlp.0.", "ffn.layers.0.0."),
            ("ffn.layers.1.", "mlp.fc2.", "mlp.3.", "ffn.layers.1."),
        )
    ),
    ("layers.{i}.attn.gamma1.weight", "blocks.{i}.ls1.gamma", None, None),
    ("layers.{i}.ffn.gamma2.weight", "blocks.{i}.ls2.gamma", None, None),
    ("ln1.", "norm.", "encoder.ln.", "ln1."),
)
# How the ViT of each library is told by one key that only it has.
VIT_MARKS = {
    "mmpretrain": "layers.0.attn.qkv.weight",
    "timm": "blocks.0.attn.qkv.weight",
    "torchvision": "encoder.layers.encoder_layer_0.self_attention.in_proj_weight",
    "mmseg": "layers.0.attn.attn.in_proj_weight",
}


def family(state: Mapping[str, Any]) -> str:
    """'resnet', 'vit', or an empty text for a backbone of another family."""
    if "conv1.weight" in state and "layer1.0.conv1.weight" in state:
        return "resnet"
    return "vit" if vit_library(state) else ""


def vit_library(state: Mapping[str, Any]) -> str:
    """The library whose names a ViT's keys are, or an empty text."""
    return next((name for name, mark in VIT_MARKS.items() if mark in state), "")


def rename_vit(key: str, source: str, target: str) -> str | None:
    """A key of a ViT in the names of another library.

    Args:
        key: Without prefix, such as 'blocks.0.norm1.weight'.
        source: Library of ``key``: one of :data:`VIT_LIBRARIES`.
        target: Library of the result: one of :data:`VIT_LIBRARIES`.

    Returns:
        The name, or None where ``source`` has no such key or ``target`` no counterpart.
    """
    a, b = VIT_LIBRARIES.index(source), VIT_LIBRARIES.index(target)
    for names in VIT_NAMES:
        here, there = names[a], names[b]
        if here is None or there is None:
            continue
        ending = "(weight|bias)" if here[-1] in "._" else "()"
        found = re.fullmatch(re.escape(here).replace(r"\{i\}", r"(?P<i>\d+)") + ending, key)
        if found:
            number = found.groupdict().get("i") or ""
            return there.replace("{i}", number) + found[found.lastindex or 0]
    return None


def resnet_to_detectron2(key: str) -> str | None:
    """A ResNet's key in detectron2's names, as they end in every model of detectron2.

    Returns:
        Such as 'res2.0.conv1.norm.weight'; None for ``num_batches_tracked``, which detectron2's
        frozen BatchNorm does not have, and for a key that is no ResNet's.
    """
    found = RESNET_KEY.fullmatch(key)
    if found is None or found["value"] == "num_batches_tracked":
        return None
    layer = (
        found["layer"].replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
    )
    layer = re.sub(r"bn([1-3])", r"conv\1.norm", layer)
    where = f"res{int(found['stage'][5:]) + 1}.{found['block']}" if found["stage"] else "stem"
    return f"{where}.{layer}.{found['value']}"


def resnet_from_detectron2(key: str) -> str | None:
    """The inverse of :func:`resnet_to_detectron2`; None for a key that is not of that layout."""
    found = DETECTRON2_KEY.fullmatch(key)
    if found is None:
        return None
    norm = bool(found["norm"])
    layer = found["layer"].replace("shortcut", f"downsample.{int(norm)}")
    layer = layer.replace("conv", "bn") if norm else layer
    where = f"layer{int(found['stage']) - 1}.{found['block']}." if found["stage"] else ""
    return f"{where}{layer}.{found['value']}"
