# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The table of backbones that other libraries have: their weights come in and go out unchanged.

A few rows are proved here, all of them by tests/matrix.
"""

import pytest
import torch
from mmpretrain.registry import MODELS

from xmoco_plugin.export import convert, find_backbone
from xmoco_plugin.export.alignment import COMPUTED, identify, renamed, tensors
from xmoco_plugin.export.architectures import FAMILIES, Member, of_family

from .backbones import needs, randomize

FEW = {"MobileNetV2", "RegNet", "ShuffleNetV2", "AlexNet", "SEResNet"}
SIZE = {"SwinTransformer": 224}


def rows() -> list[Member]:
    """The first backbone of each family, which stands for its names."""
    return [of_family(family)[0] for family in FAMILIES]


def prove(member: Member, library: str) -> None:
    """Weights of ours go out and come back, and both models give the same features."""
    from .libraries import build, features

    ours, theirs = randomize(MODELS.build(member.config)), build(member, library)
    out = renamed(ours.state_dict(), member, "mmpretrain", library)
    state = theirs.state_dict()
    assert out.keys() <= state.keys()
    theirs.load_state_dict({**state, **out})
    found = find_backbone({"state_dict": {f"net.{k}": v for k, v in theirs.state_dict().items()}})
    expected = {k: v for k, v in ours.state_dict().items() if not COMPUTED.search(k)}
    assert found.state.keys() == expected.keys()
    assert all(torch.equal(found.state[key], value) for key, value in expected.items())
    assert bool(found.note) == (library not in member.family.alike)
    if library in member.family.alike:
        assert convert(ours.state_dict(), library).keys() == out.keys()
        theirs.eval()
        side = SIZE.get(member.family.kind, 64)
        image = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            made = ours(image)
            made = made[-1] if isinstance(made, tuple | list) else made
            other = features(theirs, member.family.kind, library, image)
        assert made.std() > 1e-3
        scale = float(made.abs().max())
        torch.testing.assert_close(other, made, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize(
    "member", [m for m in rows() if m.family.kind in FEW], ids=lambda m: m.family.kind
)
def test_weights_of_other_libraries_come_in_and_ours_go_out(member, library):
    needs("timm")
    if member.name_in(library):
        prove(member, library)


@pytest.mark.parametrize("member", rows(), ids=lambda m: m.family.kind)
def test_a_backbone_of_ours_is_known_by_its_keys_and_shapes(member):
    assert identify(tensors(member, "mmpretrain")) == (member, "mmpretrain")


def test_of_like_keys_the_shapes_decide():
    state = MODELS.build(dict(type="MobileNetV2", widen_factor=1.4)).state_dict()
    assert identify(state)[0].value == 1.4
    assert identify({**state, "conv2.conv.weight": torch.zeros(2, 2, 1, 1)}) is None
    state.pop("layer3.0.conv.1.bn.bias")
    assert identify(state) is None


def test_an_unknown_name_in_a_library_is_none_of_the_table():
    member = rows()[0]
    assert tensors(member._replace(names=(None, None)), "timm") is None
