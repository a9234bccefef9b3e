# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of teacher_peer.py: teachers with random weights, and one step of ours."""

import argparse
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from step_models import PLAIN, wrapper_of
from torch import nn

import xmoco_plugin
from xmoco_plugin import config_path
from xmoco_plugin.hooks.teacher_hook import _asking
from xmoco_plugin.teachers import (
    Belongs,
    FrozenTeacher,
    KeyBank,
    Projection,
    network_of,
)
from xmoco_plugin.teachers.lesson import FILE, Lesson

assert xmoco_plugin  # registers the algorithms
DIMS = 256  # numbers of a key of ours
BF16, FLOAT32, TEACHER_BF16 = "bf16", "float32", "the teacher alone in bf16"


class Teacher(NamedTuple):
    """One architecture by both names.

    Attributes:
        own: Of mmpretrain, whose weights are not fetched.
        config: Ours that has it.
        theirs: Of lightly-train, without weights.
        methods: Of lightly-train that take it.
        patch: Pixels that a view's side must be a multiple of.
    """

    own: str
    config: str
    theirs: str
    methods: tuple[str, ...]
    patch: int = 1


# lightly-train's first distillation, the one nearest to ours, takes DINOv2 and DINOv3 alone.
TEACHERS = {
    "vit-s14": Teacher(
        "vit-small-p14_dinov2-pre_3rdparty",
        "teacher/teacher-dinov2-s_r18_1xb64_folder.py",
        "dinov2/vits14-noreg-notpretrained",
        ("distillation", "distillationv1"),
        14,
    ),
    "r50": Teacher(
        "resnet50_8xb32_in1k",
        "teacher/teacher-r50_r18_1xb64_folder.py",
        "torchvision/resnet50",
        ("distillation",),
    ),
}


def random_teacher(teacher: Teacher) -> nn.Module:
    """A backbone whose features differ from image to image."""
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        backbone = MODELS.build(dict(network_of(teacher.own)[0]))
    for key, value in backbone.named_parameters():
        if "gamma" in key:  # layer scales begin at 1e-5: untrained, all images would be alike
            value.data.fill_(1)
    backbone.eval()
    return backbone


def write_teacher(teacher: Teacher, path: Path) -> Path:
    """Its weights as a file that ``TeacherHook`` reads."""
    torch.save(random_teacher(teacher).state_dict(), path)
    return path


def wrapper_config(precision: str, device: str) -> dict[str, Any]:
    """Of the optimizer of ours, as the configs have it but for its precision."""
    if precision != BF16:
        return PLAIN
    if device == "cpu":
        return PLAIN | dict(type="CpuAmpOptimWrapper")
    bf16 = dict(type="AmpOptimWrapper", dtype="bfloat16", loss_scale=dict(enabled=False))
    return PLAIN | bf16


def lesson_of(teacher: Teacher, size: int) -> Lesson:
    """A teacher of random weights, and a projection that nobody fitted."""
    network = FrozenTeacher(random_teacher(teacher), size, *network_of(teacher.own)[1])
    width = network.width()
    basis = torch.linalg.qr(torch.randn(width, min(DIMS, width))).Q
    projection = Projection(torch.zeros(width), basis, torch.ones(width))
    return Lesson(projection, Belongs(1, width, "", teacher.own, size, ""), network)


def own_step(
    teacher: Teacher,
    own_crop: bool,
    precision: str,
    channels_last: bool,
    args: argparse.Namespace,
    device: str,
) -> Callable[[], None]:
    """A step of ours from one view of each image that is there already."""
    cfg = Config.fromfile(config_path(teacher.config))
    cfg.model.update(num_keys=args.queue, own_crop=own_crop, channels_last=channels_last)
    cfg.model.data_preprocessor = cfg.data_preprocessor
    lesson = lesson_of(teacher, args.size)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg.model).to(device).train()
    if own_crop:
        model.ask = _asking(lesson, model.data_preprocessor, torch.device(device), FILE)
        assert lesson.network is not None
        lesson.network.bfloat16 = precision != FLOAT32
    else:
        keys = nn.functional.normalize(torch.randn(2 * args.queue, DIMS), dim=1)
        model.bank = KeyBank(keys.half().to(device))
    wrapper = wrapper_of(model, wrapper_config(precision, device))
    view = torch.randn(args.batch, 3, args.size, args.size, device=device)
    samples = [SimpleNamespace(sample_idx=i) for i in range(args.batch)]

    def step() -> None:
        with wrapper.optim_context(model):
            losses = model.loss([view], samples)
        wrapper.update_params(sum(losses.values()))

    return step


def own_teacher(
    teacher: Teacher, precision: str, args: argparse.Namespace, device: str
) -> Callable[[], object]:
    """The teacher's forward pass alone, ours."""
    network = lesson_of(teacher, args.size).network
    assert network is not None
    network.to(device)
    network.bfloat16 = precision == BF16
    pixels = torch.rand(args.batch, 3, args.size, args.size, device=device) * 255
    return lambda: network(pixels)


def own_ways(
    teacher: Teacher, precision: str, args: argparse.Namespace, device: str
) -> dict[str, Callable[[], object]]:
    """Steps of ours, and the teacher's forward pass alone."""
    ways: dict[str, Callable[[], object]] = {}
    for name, own_crop in (("crop", True), ("stored", False)):
        for layout in (False, True):
            way = f"ours, {name}" + ", channels last" * layout
            ways[way] = own_step(teacher, own_crop, precision, layout, args, device)
    if precision == FLOAT32:  # as the commands do it by themselves where that is faster
        ways["ours, crop, channels last, teacher in bf16"] = own_step(
            teacher, True, TEACHER_BF16, True, args, device
        )
    ways["teacher alone, ours"] = own_teacher(teacher, precision, args, device)
    return ways
