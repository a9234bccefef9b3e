# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The same image gives the same features in every library that reads an exported file."""

import pytest
import torch
import torchvision
from mmengine.runner import load_checkpoint
from mmpretrain.registry import MODELS
from torch import nn

from .backbones import R50, VIT, needs, randomize, run_tool, save, xmoco

PRETRAINED = "Pretrained"


@pytest.fixture(scope="module")
def r50(tmp_path_factory):
    """A ResNet-50 pretrained by XMoCo: the checkpoint, an image, its features."""
    model = xmoco(R50)
    path = save(model, tmp_path_factory.mktemp("r50") / "epoch_200.pth", R50)
    image = torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))
    return path, image, features(model.backbone, image)


@pytest.fixture(scope="module")
def vit(tmp_path_factory):
    """MoCo v3's ViT-S/16: the checkpoint, an image, the class token."""
    model = xmoco(VIT)
    path = save(model, tmp_path_factory.mktemp("vit") / "epoch_300.pth", VIT)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    return path, image, features(model.backbone, image)


@torch.no_grad()
def features(model: nn.Module, image: torch.Tensor) -> torch.Tensor:
    model.eval()  # which returns None in some of the hosts' backbones
    out = model(image)
    return out[-1] if isinstance(out, (tuple, list)) else out


def assert_equal(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-5 of the features' scale, which must be one: no constant, no zeros."""
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * float(expected.abs().max()))


def exported(monkeypatch, path, out, target, *arguments):
    assert run_tool(monkeypatch, path, out, "--to", target, *arguments) == 0
    return out


def weights_of(path) -> dict:
    return torch.load(path, weights_only=True)["state_dict"]


def headless(model: nn.Module, *heads: str) -> nn.Module:
    for name in heads:
        setattr(model, name, nn.Identity())
    return model


def initialized(model: nn.Module) -> nn.Module:
    model.init_weights()
    return model


def test_a_resnet50_in_mmpretrain_from_the_checkpoint_and_from_the_export(
    r50, tmp_path, monkeypatch
):
    path, image, expected = r50
    out = exported(monkeypatch, path, tmp_path / "out.pth", "mmpretrain")
    for file in (path, out):
        init_cfg = dict(type=PRETRAINED, checkpoint=str(file), prefix="backbone.")
        model = initialized(MODELS.build(R50 | dict(init_cfg=init_cfg)))
        assert_equal(features(model, image), expected)


def test_a_resnet50_in_torchvision(r50, tmp_path, monkeypatch):
    path, image, expected = r50
    out = exported(monkeypatch, path, tmp_path / "out.pth", "torchvision")
    model = headless(torchvision.models.resnet50(), "avgpool", "fc")
    model.load_state_dict(weights_of(out))
    assert_equal(features(model, image).view_as(expected), expected)


@pytest.mark.parametrize("target", ["timm", "safetensors"])
def test_a_resnet50_in_timm_by_its_own_reader(r50, tmp_path, monkeypatch, target):
    timm = pytest.importorskip("timm")
    path, image, expected = r50
    ending = "safetensors" if target == "safetensors" else "pth"
    out = exported(monkeypatch, path, tmp_path / f"out.{ending}", target)
    model = timm.create_model("resnet50", num_classes=0, global_pool="", checkpoint_path=str(out))
    assert_equal(features(model, image), expected)


@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
def test_a_resnet50_in_mmdet_and_mmseg_straight_from_the_checkpoint(r50, library):
    backbones = needs(f"{library}.models.backbones")
    path, image, expected = r50
    init_cfg = dict(type=PRETRAINED, checkpoint=str(path), prefix="backbone.")
    model = initialized(backbones.ResNet(50, init_cfg=init_cfg))
    assert_equal(features(model, image), expected)


@pytest.mark.parametrize("what", ["stride", "norm"])
def test_the_comparison_sees_another_stride_and_two_swapped_norms(r50, what):
    path, image, expected = r50
    model = MODELS.build(R50 | dict(style="caffe" if what == "stride" else "pytorch"))
    load_checkpoint(model, str(path), revise_keys=[(r"^backbone\.", "")], logger="silent")
    if what == "norm":
        first, second = model.layer3[1].bn1, model.layer3[1].bn2
        model.layer3[1].bn1, model.layer3[1].bn2 = second, first
        model.layer3[1].norm1_name, model.layer3[1].norm2_name = "bn1", "bn2"
    with pytest.raises(AssertionError, match="not close"):
        assert_equal(features(model, image), expected)


def test_a_vit_in_timm_with_the_heads_that_the_record_names(vit, tmp_path, monkeypatch):
    timm = pytest.importorskip("timm")
    path, image, expected = vit
    out = exported(monkeypatch, path, tmp_path / "out.pth", "timm")
    heads = torch.load(out, weights_only=True)["meta"]["num_heads"]
    build = dict(num_classes=0, checkpoint_path=str(out))
    model = timm.create_model("vit_small_patch16_224", num_heads=heads, **build)
    assert_equal(features(model, image), expected)
    # timm's own ViT-S has 6 heads: the weights fit it, and give other features.
    with pytest.raises(AssertionError, match="not close"):
        assert_equal(features(timm.create_model("vit_small_patch16_224", **build), image), expected)


def test_a_vit_in_torchvision(vit, tmp_path, monkeypatch):
    path, image, expected = vit
    out = exported(monkeypatch, path, tmp_path / "out.pth", "torchvision")
    model = torchvision.models.VisionTransformer(224, 16, 12, 12, 384, 1536)
    model = headless(model, "heads")
    model.load_state_dict(weights_of(out))
    assert_equal(features(model, image), expected)


def test_a_vit_in_mmseg(vit, tmp_path, monkeypatch):
    backbones = needs("mmseg.models.backbones")
    path, image, expected = vit
    out = exported(monkeypatch, path, tmp_path / "out.pth", "mmseg")
    model = backbones.VisionTransformer(
        img_size=224,
        embed_dims=384,
        num_heads=12,
        patch_bias=True,
        final_norm=True,
        norm_cfg=dict(type="LN", eps=1e-6),
        output_cls_token=True,
        init_cfg=dict(type=PRETRAINED, checkpoint=str(out)),
    )
    _, token = features(initialized(model), image)
    assert_equal(token, expected)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize("name", ["resnet50", "vit_small_patch16_224"])
def test_backbones_of_other_libraries_come_in_with_their_features(
    tmp_path, monkeypatch, library, name
):
    timm = pytest.importorskip("timm")
    resnet = name == "resnet50"
    size = 64 if resnet else 224
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    if library == "timm":
        model = randomize(timm.create_model(name, num_classes=10))
        expected = model.forward_features(image).detach()
        expected = expected if resnet else expected[:, 0]
    else:
        model = (
            torchvision.models.resnet50(num_classes=10)
            if resnet
            else torchvision.models.VisionTransformer(224, 16, 12, 6, 384, 1536, num_classes=10)
        )
        randomize(model)
    torch.save(model.state_dict(), tmp_path / "in.pth")
    if library == "torchvision":
        expected = features(headless(model, *(["avgpool", "fc"] if resnet else ["heads"])), image)
    out = exported(monkeypatch, tmp_path / "in.pth", tmp_path / "out.pth", "mmpretrain")
    backbone = R50 if resnet else VIT | dict(type="VisionTransformer", arch="deit-small")
    init_cfg = dict(type=PRETRAINED, checkpoint=str(out), prefix="backbone.")
    ours = features(initialized(MODELS.build(backbone | dict(init_cfg=init_cfg))), image)
    assert_equal(ours, expected.view_as(ours))
