# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A teacher's weights are cast to bfloat16 once, and nothing of its values or files is changed."""

import copy

import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from xmoco_plugin.teachers import FrozenTeacher, TeacherError

from .files import RESNET

VIT = dict(type="VisionTransformer", arch="deit-tiny", img_size=32, patch_size=8)


class Casts(TorchDispatchMode):
    """Counts what is cast to bfloat16, by the number of elements."""

    def __init__(self):
        super().__init__()
        self.sizes: list[int] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and made.dtype == torch.bfloat16:
            self.sizes.append(made.numel())
        return made


def teacher_of(settings=RESNET) -> FrozenTeacher:
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        teacher = FrozenTeacher(MODELS.build(dict(settings)), 32)
    teacher.bfloat16 = True
    return teacher


def by_autocast_alone(teacher: FrozenTeacher, pixels: torch.Tensor) -> torch.Tensor:
    """As autocast has it, which casts every weight in every pass."""
    plain = copy.deepcopy(teacher)
    plain.bfloat16 = False
    with torch.autocast("cpu", torch.bfloat16):
        return plain(pixels)


@pytest.fixture
def pixels():
    return torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 255


@pytest.mark.parametrize("settings", [RESNET, VIT], ids=["ResNet", "ViT"])
def test_features_are_those_of_autocast_bit_for_bit(settings, pixels):
    teacher = teacher_of(settings)
    expected = by_autocast_alone(teacher, pixels)
    assert torch.equal(teacher(pixels), expected)
    assert torch.equal(teacher(pixels), expected)  # and by the weights that were kept


@pytest.mark.parametrize("settings", [RESNET, VIT], ids=["ResNet", "ViT"])
def test_no_weight_is_cast_in_a_second_pass(settings, pixels):
    teacher = teacher_of(settings)
    weights = {p.numel() for p in teacher.parameters() if p.ndim > 1}
    with Casts() as first:
        teacher(pixels)
    with Casts() as second:
        teacher(pixels)
    layers = [m for m in teacher.modules() if type(m) in (nn.Linear, nn.Conv2d)]
    assert len([n for n in first.sizes if n in weights]) >= len(layers)
    assert sum(second.sizes) < sum(first.sizes) - sum(m.weight.numel() for m in layers) + 1


def test_the_teacher_holds_its_own_weights_before_and_after_and_where_it_fails(pixels):
    teacher = teacher_of()
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    whole = dict(teacher.named_parameters())
    teacher(pixels)
    teacher.backbone.register_forward_hook(lambda *given: 1 / 0)
    with pytest.raises(TeacherError, match="takes no images"):
        teacher(pixels)
    assert all(p is whole[name] for name, p in teacher.named_parameters())
    after = teacher.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_weights_that_were_changed_are_cast_anew(pixels):
    teacher = teacher_of()
    was = teacher(pixels)
    other = {name: value * 0.5 for name, value in teacher.backbone.state_dict().items()}
    teacher.backbone.load_state_dict(other)
    now = teacher(pixels)
    assert not torch.equal(now, was)
    assert torch.equal(now, by_autocast_alone(teacher, pixels))


def test_layers_that_reckon_with_their_weights_first_keep_them_in_float32(pixels):
    class Standardized(nn.Conv2d):
        def forward(self, x):
            assert self.weight.dtype == torch.float32
            return super().forward(x)

    teacher = FrozenTeacher(nn.Sequential(Standardized(3, 4, 1), nn.Conv2d(4, 2, 1)), 32)
    teacher.bfloat16 = True
    assert torch.equal(teacher(pixels), by_autocast_alone(teacher, pixels))
