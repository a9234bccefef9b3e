# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Vision transformers with random weights in the layouts of those who publish them.

:func:`weights` draws them in names of our own, each ``in_...`` writes them in a publisher's, and
:func:`tokens` is a slow forward pass over ours.
"""

import math
from functools import cache

import torch
import torch.nn.functional as F

BLOCK = {  # ours -> shape, of width w and inner width h
    **{f"{name}.{kind}": "w" for name in ("norm1", "norm2") for kind in ("weight", "bias")},
    **{f"{name}.weight": "ww" for name in ("q", "k", "v", "out")},
    **{f"{name}.bias": "w" for name in ("q", "k", "v", "out")},
    "up.weight": "hw",
    "up.bias": "h",
    "down.weight": "wh",
    "down.bias": "w",
}


def weights(
    width=384, depth=2, patch=14, grid=None, registers=0, scales=True, gated=False, hidden=None
) -> dict[str, torch.Tensor]:
    """Random weights; ``grid`` is the side of the positions that are learnt, None for a rope."""
    torch.manual_seed(0)
    sizes = {"w": width, "h": hidden or 4 * width}
    block = dict(BLOCK) | (dict(scale1="w", scale2="w") if scales else {})
    block |= {"gate.weight": "hw", "gate.bias": "h"} if gated else {}
    shapes = {"patch.weight": (width, 3, patch, patch), "patch.bias": (width,)}
    shapes |= {"cls": (1, 1, width), "norm.weight": (width,), "norm.bias": (width,)}
    if grid:
        shapes["pos"] = (1, grid * grid + 1, width)
    if registers:
        shapes["registers"] = (1, registers, width)
    for i in range(depth):
        shapes |= {f"{i}.{k}": tuple(sizes[s] for s in v) for k, v in block.items()}
    found = {}
    for key, shape in shapes.items():
        spread = 0.5 if len(shape) == 1 else math.prod(shape[1:]) ** -0.5
        found[key] = spread * torch.randn(shape) + float("norm" in key and "weight" in key)
    for key in ("cls", "pos", "registers"):
        if key in found:
            found[key] = torch.randn(shapes[key])
    if not grid:  # no bias of the keys is learnt there
        for i in range(depth):
            found[f"{i}.k.bias"].zero_()
    return found


@cache
def drawn(kind):
    """Random weights: positions of 518 px and patches of 14, or a rope, or those of 224 px."""
    made = dict(
        v2=dict(grid=37),
        v2_registers=dict(grid=37, registers=4),
        v2_gated=dict(grid=37, width=192, gated=True, hidden=512),
        v3=dict(patch=16, registers=4),
        v3_gated=dict(patch=16, registers=4, gated=True, hidden=1536),
        v1=dict(grid=14, patch=16, scales=False),
    )
    return weights(**made[kind])


def without_biases(ours):
    return {k: v * (0 if k.endswith(("q.bias", "v.bias")) else 1) for k, v in ours.items()}


def depth_of(ours) -> int:
    return len({key.split(".")[0] for key in ours if key[0].isdigit()})


def tokens(ours, image, heads=6, eps=1e-6, grid=None) -> torch.Tensor:
    """(n, 1 + registers + places, width) after the last norm.

    Args:
        ours: Of :func:`weights`.
        image: (n, 3, H, W), normalised.
        heads: Of the attention.
        eps: Of the norms.
        grid: (old side, new side, width) -> positions of places that are resampled.
    """
    width, patch = ours["cls"].shape[-1], ours["patch.weight"].shape[-1]
    x = F.conv2d(image, ours["patch.weight"], ours["patch.bias"], stride=patch)
    n, _, rows, columns = x.shape
    x = x.flatten(2).transpose(1, 2)
    cls, rope = ours["cls"].expand(n, -1, -1), None
    if "pos" in ours:
        places = ours["pos"][:, 1:]
        side = math.isqrt(places.shape[1])
        if side != rows:
            planes = places.transpose(1, 2).unflatten(2, (side, side))
            places = grid(planes, (rows, columns)).flatten(2).transpose(1, 2)
        x, cls = x + places, cls + ours["pos"][:, :1]
    else:
        rope = _rope(rows, columns, width // heads)
    registers = ours.get("registers", torch.empty(1, 0, width)).expand(n, -1, -1)
    before = 1 + registers.shape[1]
    x = torch.cat([cls, registers, x], dim=1)
    for i in range(depth_of(ours)):
        b = {key.removeprefix(f"{i}."): v for key, v in ours.items() if key.startswith(f"{i}.")}
        y = F.layer_norm(x, (width,), b["norm1.weight"], b["norm1.bias"], eps)
        q, k, v = (
            F.linear(y, b[f"{name}.weight"], b[f"{name}.bias"]).unflatten(2, (heads, -1))
            for name in "qkv"
        )
        if rope is not None:
            q, k = (torch.cat([t[:, :before], _turned(t[:, before:], rope)], 1) for t in (q, k))
        share = (torch.einsum("nihd,njhd->nhij", q, k) / math.sqrt(width // heads)).softmax(-1)
        y = torch.einsum("nhij,njhd->nihd", share, v).flatten(2)
        x = x + b.get("scale1", 1) * F.linear(y, b["out.weight"], b["out.bias"])
        y = F.layer_norm(x, (width,), b["norm2.weight"], b["norm2.bias"], eps)
        inner = F.linear(y, b["up.weight"], b["up.bias"])
        if "gate.weight" in b:
            inner = F.silu(F.linear(y, b["gate.weight"], b["gate.bias"])) * inner
        else:
            inner = F.gelu(inner)
        x = x + b.get("scale2", 1) * F.linear(inner, b["down.weight"], b["down.bias"])
    return F.layer_norm(x, (width,), ours["norm.weight"], ours["norm.bias"], eps)


def _rope(rows, columns, size) -> torch.Tensor:
    """(rows * columns, size / 2) angles: half of them of the row, half of the column."""
    periods = 100.0 ** (torch.arange(size // 4) * 4 / size)
    angles = []
    for row in range(rows):
        for column in range(columns):
            y, x = 2 * (row + 0.5) / rows - 1, 2 * (column + 0.5) / columns - 1
            angles.append(torch.cat([2 * math.pi * y / periods, 2 * math.pi * x / periods]))
    return torch.stack(angles)


def _turned(t, angles) -> torch.Tensor:
    first, second = t.chunk(2, dim=-1)
    cos, sin = angles.cos()[None, :, None], angles.sin()[None, :, None]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def _named(ours, names, blocks, block) -> dict[str, torch.Tensor]:
    """With other names: of the whole, of the blocks, in a block; what has none is left out."""
    found = {theirs: ours[key] for key, theirs in names.items() if key in ours}
    for i in range(depth_of(ours)):
        for key, theirs in block.items():
            if f"{i}.{key}" in ours:
                found[blocks.format(i) + theirs] = ours[f"{i}.{key}"]
    return found


def _both(names) -> dict[str, str]:
    """Names of layers as those of their weights and biases."""
    return {f"{a}.{k}": f"{b}.{k}" for a, b in names.items() for k in ("weight", "bias")}


def _qkv(ours, blocks) -> dict[str, torch.Tensor]:
    return {
        f"{blocks.format(i)}attn.qkv.{kind}": torch.cat([ours[f"{i}.{n}.{kind}"] for n in "qkv"])
        for i in range(depth_of(ours))
        for kind in ("weight", "bias")
    }


PARTS = _both({"patch": "patch_embed.proj", "norm": "norm"}) | dict(cls="cls_token")
PLAIN = _both({"norm1": "norm1", "norm2": "norm2", "out": "attn.proj"})
MLP = _both({"up": "mlp.fc1", "down": "mlp.fc2"})
SCALES = dict(scale1="ls1.gamma", scale2="ls2.gamma")


def in_fair_plain(ours) -> dict[str, torch.Tensor]:
    """Of DINO, MAE and MoCo v3, and timm's own."""
    names = PARTS | dict(pos="pos_embed")
    found = _named(ours, names, "blocks.{}.", PLAIN | MLP | SCALES)
    return found | _qkv(ours, "blocks.{}.")


def in_fair_dinov2(ours, blocks="blocks.{}.") -> dict[str, torch.Tensor]:
    """FAIR's DINOv2; ``blocks`` is ``blocks.0.{}.`` where they are chunked."""
    names = PARTS | dict(pos="pos_embed", registers="register_tokens")
    found = _named(ours, names, blocks, PLAIN | SCALES | MLP) | _qkv(ours, blocks)
    for i in range(depth_of(ours) if "0.gate.weight" in ours else 0):
        for kind in ("weight", "bias"):
            mlp = f"{blocks.format(i)}mlp."
            gate, up = ours[f"{i}.gate.{kind}"], found.pop(f"{mlp}fc1.{kind}")
            found[f"{mlp}w12.{kind}"] = torch.cat([gate, up])
            found[f"{mlp}w3.{kind}"] = found.pop(f"{mlp}fc2.{kind}")
    return found | dict(mask_token=torch.zeros(1, ours["cls"].shape[-1]))


def in_fair_dinov3(ours, head=64) -> dict[str, torch.Tensor]:
    """FAIR's DINOv3, whose periods are rounded."""
    mlp = _both({"gate": "mlp.w1", "up": "mlp.w2", "down": "mlp.w3"})
    block = PLAIN | SCALES | (mlp if "0.gate.weight" in ours else MLP)
    found = _named(ours, PARTS | dict(registers="storage_tokens"), "blocks.{}.", block)
    found |= _qkv(ours, "blocks.{}.")
    width = ours["cls"].shape[-1]
    mask = torch.cat([torch.ones(width), torch.zeros(width), torch.ones(width)])
    found |= {f"blocks.{i}.attn.qkv.bias_mask": mask.clone() for i in range(depth_of(ours))}
    periods = (100.0 ** (torch.arange(head // 4) * 4 / head)).bfloat16().float()
    return found | {"rope_embed.periods": periods, "mask_token": torch.zeros(1, width)}


def in_transformers_dinov2(ours) -> dict[str, torch.Tensor]:
    """facebook/dinov2-small and -with-registers-small on the hub."""
    parts = _both({"patch": "embeddings.patch_embeddings.projection", "norm": "layernorm"})
    parts |= dict(cls="embeddings.cls_token", pos="embeddings.position_embeddings")
    block = _both(
        {n: f"attention.attention.{w}" for n, w in zip("qkv", ("query", "key", "value"), strict=1)}
        | {"out": "attention.output.dense", "norm1": "norm1", "norm2": "norm2"}
    )
    scales = dict(scale1="layer_scale1.lambda1", scale2="layer_scale2.lambda1")
    names = parts | dict(registers="embeddings.register_tokens")
    found = _named(ours, names, "encoder.layer.{}.", block | MLP | scales)
    return found | {"embeddings.mask_token": torch.zeros(1, ours["cls"].shape[-1])}


def in_transformers_vit(ours) -> dict[str, torch.Tensor]:
    """facebook/dino-vits16 on the hub."""
    found = {}
    for key, value in in_transformers_dinov2(ours).items():
        for theirs, here in (
            ("norm1", "layernorm_before"),
            ("norm2", "layernorm_after"),
            ("mlp.fc1", "intermediate.dense"),
            ("mlp.fc2", "output.dense"),
        ):
            key = key.replace(theirs, here)
        found[key] = value
    found.pop("embeddings.mask_token")
    width = ours["cls"].shape[-1]
    return found | {
        "pooler.dense.weight": torch.eye(width),
        "pooler.dense.bias": torch.zeros(width),
    }


def in_transformers_dinov3(ours) -> dict[str, torch.Tensor]:
    """facebook/dinov3-vits16-pretrain-lvd1689m on the hub."""
    parts = _both({"patch": "embeddings.patch_embeddings", "norm": "norm"})
    parts |= dict(cls="embeddings.cls_token", registers="embeddings.register_tokens")
    block = _both({n: f"attention.{n}_proj" for n in "qkv"} | {"out": "attention.o_proj"})
    block |= _both({"norm1": "norm1", "norm2": "norm2", "gate": "mlp.gate_proj"})
    block |= _both({"up": "mlp.up_proj", "down": "mlp.down_proj"})
    del block["k.bias"]
    scales = dict(scale1="layer_scale1.lambda1", scale2="layer_scale2.lambda1")
    found = _named(ours, parts, "layer.{}.", block | scales)
    return found | {"embeddings.mask_token": torch.zeros(1, 1, ours["cls"].shape[-1])}


def in_timm_dinov2(ours) -> dict[str, torch.Tensor]:
    """timm's own file of a DINOv2 with registers: the class token has its position added."""
    found = in_fair_plain(ours)
    found["cls_token"] = ours["cls"] + ours["pos"][:, :1]
    return found | dict(pos_embed=ours["pos"][:, 1:], reg_token=ours["registers"])


def in_timm_dinov3(ours) -> dict[str, torch.Tensor]:
    """timm's own file of a DINOv3, which has no biases of queries, keys and values."""
    found = {
        key.replace("ls1.gamma", "gamma_1").replace("ls2.gamma", "gamma_2"): value
        for key, value in in_fair_plain(ours).items()
        if not key.endswith("qkv.bias")
    }
    return found | dict(reg_token=ours["registers"])


def in_mmpretrain(ours) -> dict[str, torch.Tensor]:
    """mmpretrain's file of a DINOv2."""
    names = _both({"patch": "patch_embed.projection", "norm": "ln1"})
    names |= dict(cls="cls_token", pos="pos_embed")
    block = _both({"norm1": "ln1", "norm2": "ln2", "out": "attn.proj"})
    block |= _both({"up": "ffn.layers.0.0", "down": "ffn.layers.1"})
    block |= dict(scale1="attn.gamma1.weight", scale2="ffn.gamma2.weight")
    found = _named(ours, names, "layers.{}.", block) | _qkv(ours, "layers.{}.")
    return {f"backbone.{key}": value for key, value in found.items()}
