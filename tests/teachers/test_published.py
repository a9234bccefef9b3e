# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The files of DINOv2, DINOv3 and others, as they are published, are teachers."""

from functools import cache

import pytest
import torch
import torch.nn.functional as F

from tests.teachers import published as p
from xmoco_plugin.teachers import open_file

MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]


def plain(planes, size):
    """As mmpretrain resamples positions, and transformers."""
    return F.interpolate(planes, size, mode="bicubic", align_corners=False)


def smooth(planes, size):
    """As timm does, and FAIR where there are registers."""
    return F.interpolate(planes, size, mode="bicubic", antialias=True, align_corners=False)


def under(prefix, state):
    return {f"{prefix}{key}": value for key, value in state.items()}


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
    return p.weights(**made[kind])


def without_biases(ours):
    return {k: v * (0 if k.endswith(("q.bias", "v.bias")) else 1) for k, v in ours.items()}


V1 = p.in_fair_plain
# File -> whose weights, its content, how positions are resampled, what is left out.
FILES = {
    "dinov2_vits14_pretrain.pth": ("v2", p.in_fair_dinov2, plain, ["mask_token"]),
    "dinov2_vits14_reg4_pretrain.pth": ("v2_registers", p.in_fair_dinov2, smooth, ["mask_token"]),
    "dinov2_vitg14_pretrain.pth": ("v2_gated", p.in_fair_dinov2, plain, ["mask_token"]),
    "teacher_checkpoint.pth": (
        "v2",
        lambda ours: {
            "teacher": under("backbone.", p.in_fair_dinov2(ours, "blocks.0.{}."))
            | {"dino_head.mlp.0.weight": torch.ones(2, 2)}
        },
        plain,
        ["teacher.backbone.mask_token", "teacher.dino_head.mlp.0.weight"],
    ),
    "dinov3_vits16_pretrain_lvd1689m-08c60483.pth": (
        "v3",
        p.in_fair_dinov3,
        None,
        [
            *("blocks.0.attn.qkv.bias_mask", "blocks.1.attn.qkv.bias_mask"),
            *("mask_token", "rope_embed.periods"),
        ],
    ),
    "dinov3_vits16plus_pretrain_lvd1689m-4057cbaa.pth": ("v3_gated", p.in_fair_dinov3, None, None),
    "dinov2-small/model.safetensors": ("v2", p.in_transformers_dinov2, plain, None),
    "dinov2-with-registers-small/model.safetensors": (
        *("v2_registers", p.in_transformers_dinov2, smooth),
        ["embeddings.mask_token"],
    ),
    "dinov3-vits16/model.safetensors": ("v3", p.in_transformers_dinov3, None, None),
    "dinov3-vits16plus/model.safetensors": ("v3_gated", p.in_transformers_dinov3, None, None),
    "dino-vits16/model.safetensors": (
        *("v1", p.in_transformers_vit, plain),
        ["pooler.dense.bias", "pooler.dense.weight"],
    ),
    "vit_small_patch14_dinov2/model.safetensors": ("v2", p.in_fair_plain, plain, []),
    "vit_small_patch14_reg4_dinov2/model.safetensors": (
        *("v2_registers", p.in_timm_dinov2, smooth, []),
    ),
    "vit_small_patch16_dinov3/pytorch_model.bin": ("v3", p.in_timm_dinov3, None, []),
    "vit-small-p14_dinov2-pre_3rdparty_20230426-5641ca5a.pth": (
        "v2",
        lambda ours: {"state_dict": p.in_mmpretrain(ours), "meta": {}},
        *(plain, []),
    ),
    "exported_last.pt": ("v2_registers", p.in_fair_dinov2, smooth, ["mask_token"]),
    "dino_deitsmall16_pretrain.pth": ("v1", p.in_fair_plain, plain, []),
    "dino_deitsmall16_pretrain_full_checkpoint.pth": (
        "v1",
        lambda ours: {
            "teacher": under("backbone.", V1(ours)),
            "student": under("module.backbone.", {k: v + 1 for k, v in V1(ours).items()}),
            "epoch": 800,
        },
        *(plain, None),
    ),
    "mae_pretrain_vit_small.pth": (
        "v1",
        lambda ours: {
            "model": V1(ours)
            | {"mask_token": torch.ones(1, 1, 8), "decoder_blocks.0.norm1.weight": torch.ones(8)}
        },
        plain,
        ["model.decoder_blocks.0.norm1.weight", "model.mask_token"],
    ),
    "vit-s-300ep.pth.tar": (
        "v1",
        lambda ours: {
            "epoch": 300,
            "state_dict": under("module.base_encoder.", V1(ours))
            | under("module.momentum_encoder.", {k: v + 1 for k, v in V1(ours).items()})
            | {"module.base_encoder.head.0.weight": torch.ones(2, 2)},
        },
        *(plain, None),
    ),
}


def written(folder, name, content):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file = pytest.importorskip("safetensors.torch").save_file
        save_file({key: value.contiguous() for key, value in content.items()}, path)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_says_its_network_and_gives_its_features(tmp_path, name):
    pytest.importorskip("timm")
    kind, content, resample, left = FILES[name]
    ours = drawn(kind)
    path = written(tmp_path, name, content(ours))
    source = open_file(path)
    if name.endswith("pytorch_model.bin"):
        ours = without_biases(ours)
    patch = ours["patch.weight"].shape[-1]
    heads = 12 if name.startswith("vit-s-300ep") else ours["cls"].shape[-1] // 64
    eps = 1e-5 if "pos" not in ours else 1e-6
    size = 3 * patch  # another grid than the one that is learnt
    teacher = source.frozen(size)
    pixels = torch.randint(0, 256, (2, 3, size, size)).float()
    expected = p.tokens(ours, (pixels - MEAN) / STD, heads, eps, resample)
    torch.testing.assert_close(teacher(pixels), expected[:, 0], rtol=1e-4, atol=1e-4)
    feature, places = teacher.with_places(pixels)
    torch.testing.assert_close(feature, expected[:, 0], rtol=1e-4, atol=1e-4)
    before = 1 + (ours["registers"].shape[1] if "registers" in ours else 0)
    assert places.shape == (2, ours["cls"].shape[-1], 3, 3)
    torch.testing.assert_close(
        places.flatten(2).transpose(1, 2), expected[:, before:], rtol=1e-4, atol=1e-4
    )
    if left is not None:
        assert sorted(source.left_out) == left
