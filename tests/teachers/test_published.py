# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The files of DINOv2, DINOv3 and others, as they are published, are teachers."""

import re

import pytest
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS

from tests.teachers import published as p
from tests.teachers.files import of_timm, written
from xmoco_plugin.teachers import TeacherError, open_file

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


@pytest.mark.parametrize("name", FILES)
def test_a_published_file_says_its_network_and_gives_its_features(tmp_path, name):
    pytest.importorskip("timm")
    kind, content, resample, left = FILES[name]
    ours = p.drawn(kind)
    path = written(tmp_path, name, content(ours))
    source = open_file(path)
    if name.endswith("pytorch_model.bin"):
        ours = p.without_biases(ours)
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


@pytest.mark.parametrize("name", ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2"])
def test_positions_of_another_grid_than_the_named_network_s_are_resampled_once(tmp_path, name):
    """Of a training at 224 px: at 224 px they are as they were learnt."""
    pytest.importorskip("timm")
    ours = p.weights(grid=16, registers=4 if "reg4" in name else 0)
    path = written(tmp_path, "own.pth", p.in_fair_dinov2(ours))
    pixels = torch.randint(0, 256, (1, 3, 224, 224)).float()
    expected = p.tokens(ours, (pixels - MEAN) / STD)[:, 0]
    for source in (open_file(path), open_file(path, of_timm(name))):
        assert source.settings["img_size"] == 224
        torch.testing.assert_close(source.frozen(224)(pixels), expected, rtol=1e-4, atol=1e-4)


def test_a_network_with_registers_needs_timm_and_one_without_does_not(tmp_path, monkeypatch):
    monkeypatch.setattr("xmoco_plugin.teachers.large.timm_library", lambda: None)
    bare = written(tmp_path, "bare.pth", p.in_fair_dinov2(p.drawn("v2")))
    assert open_file(bare).settings["type"] == "VisionTransformer"
    path = written(tmp_path, "reg4.pth", p.in_fair_dinov2(p.drawn("v2_registers")))
    with pytest.raises(TeacherError, match=r"reg4\.pth: it is timm's .*: pip install timm"):
        open_file(path)


def test_dinov3_of_satellite_pictures_is_given_their_mean(tmp_path):
    pytest.importorskip("timm")
    state = p.in_fair_dinov3(p.weights(width=1024, depth=1, patch=16, registers=4))
    usual = open_file(written(tmp_path, "web.pth", state)).mean
    state |= {"local_cls_norm.weight": torch.ones(1024), "local_cls_norm.bias": torch.zeros(1024)}
    found = open_file(written(tmp_path, "sat.pth", state))
    assert usual[0] == pytest.approx(255 * 0.485)
    assert found.mean == pytest.approx([255 * v for v in (0.430, 0.411, 0.296)])


TRANSFORMERS = (  # of a ConvNeXt: mmpretrain's, transformers'
    (r"^downsample_layers\.(\d)", r"stages.\1.downsample_layers"),
    (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.layers.\2."),
    (r"(layers\.\d+)\.norm\.", r"\1.layer_norm."),
    (r"^norm3", "layer_norm"),
)
FAIR = (
    *(("depthwise_conv", "dwconv"), ("pointwise_conv", "pwconv")),
    ("^norm3", "norm"),
)


@pytest.mark.parametrize("names", [FAIR, TRANSFORMERS])
def test_a_convnext_of_dinov3_gives_the_norm_of_the_mean_of_its_map(tmp_path, names):
    torch.manual_seed(0)
    expected = MODELS.build(dict(type="mmpretrain.ConvNeXt", arch="atto"))
    expected.eval()  # returns nothing
    for key, value in expected.named_parameters():
        value.data = torch.randn_like(value) * 0.2 + ("norm" in key)
    state = expected.state_dict()
    theirs = {}
    for key, value in state.items():
        for pattern, new in names:
            key = re.sub(pattern, new, key)
        theirs[key] = value
    if names is FAIR:
        theirs |= {"norms.3.weight": theirs["norm.weight"], "norms.3.bias": theirs["norm.bias"]}
    source = open_file(written(tmp_path, "dinov3_convnext.pth", theirs))
    assert source.settings == dict(type="ConvNeXt", arch="atto")
    assert len(source.left_out) == 2 * (names is FAIR)
    pixels = torch.randint(0, 256, (2, 3, 64, 64)).float()
    with torch.no_grad():
        x = (pixels - MEAN) / STD
        for down, stage in zip(expected.downsample_layers, expected.stages, strict=True):
            x = stage(down(x))
    pooled = F.layer_norm(
        x.mean(dim=(2, 3)), (320,), state["norm3.weight"], state["norm3.bias"], 1e-6
    )
    torch.testing.assert_close(source.frozen(64)(pixels), pooled, rtol=1e-4, atol=1e-4)
