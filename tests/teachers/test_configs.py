# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The configs of a teacher: their parts fit one another, and a shrunken copy takes a step."""

import importlib.util
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS, TRANSFORMS

from tests.shrunken import shrunken
from xmoco_plugin.teachers import offer_of

FOLDER = Path(__file__).parents[2] / "configs" / "teacher"
FILES = sorted(FOLDER.glob("*.py"))


@pytest.fixture(params=FILES, ids=lambda f: f.stem)
def cfg(request):
    found = Config.fromfile(request.param)
    if found.model.backbone.type.startswith("mmdet.") and not importlib.util.find_spec("mmdet"):
        pytest.skip("its backbone is mmdet's")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield found


def test_the_neck_maps_the_backbones_output_to_the_keys(cfg):
    model = MODELS.build(cfg.model | dict(data_preprocessor=cfg.data_preprocessor)).eval()
    size = cfg.model.backbone.get("img_size", 64)
    with torch.no_grad():
        shown = model.encode(torch.zeros(2, 3, size, size))
        assert shown.embedding.shape == (2, cfg.model.feat_dim)


def test_the_teacher_is_known_and_its_licence_is_free(cfg):
    hook = cfg.custom_hooks[-1]
    assert hook.type == "TeacherHook"
    assert not offer_of(hook.teacher).restricted
    kinds = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert kinds == ["LoadImageOrSkip", "OneView", "PackInputs"]
    assert all(TRANSFORMS.get(kind) for kind in kinds)


def test_a_shrunken_copy_takes_a_step():
    cfg = Config.fromfile(FOLDER / "teacher-r50_r18_1xb64_folder.py")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        small = shrunken(cfg.model) | dict(stand_in=True, data_preprocessor=cfg.data_preprocessor)
        model = MODELS.build(small)
    losses = model.loss([torch.randn(4, 3, 32, 32)])
    losses["loss_relation"].backward()
    assert all(p.grad is not None for p in model.parameters())
