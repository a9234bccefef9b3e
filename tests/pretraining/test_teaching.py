# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The choices and the config of a run with a teacher: complete, through the gate, and it steps."""

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from xmoco_plugin.pretraining import (
    Choices,
    Facts,
    PretrainError,
    Scan,
    TeacherChooser,
    backbone_config,
    probe,
    run_config,
    run_settings,
    teacher_model_config,
    with_teacher,
    write_list,
)

from .folder import draw


@pytest.mark.parametrize(("name", "own_crop"), [("resnet18", False), ("vit-small", True)])
def test_the_config_passes_the_gate_and_its_model_takes_one_view(tmp_path, name, own_crop):
    folder = draw(tmp_path / "images", 8)
    write_list(Scan(good=sorted(str(p) for p in folder.iterdir())), tmp_path)
    chosen = Choices(name, 32, batch_size=4, queue_len=8, epochs=1, lr=0.01)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        outputs = probe(backbone_config(name, 32, 1), 32)
        model = teacher_model_config(chosen, outputs, 5, own_crop)
        cfg = with_teacher(run_config(chosen, outputs, tmp_path), model, not own_crop, 48.7)
        (tmp_path / "config.py").write_text(cfg.pretty_text)
        read = run_settings(tmp_path).config  # as a run that goes on reads it
        kinds = [step.type for step in read.train_dataloader.dataset.pipeline]
        assert kinds == ["LoadImageOrSkip", "OneView", "PackInputs"]
        hook = read.custom_hooks[-1]
        assert (hook.type, hook.knn, "features" in hook) == ("TeacherHook", 48.7, own_crop)
        assert (read.model.feat_dim, read.model.num_keys, read.model.own_crop) == (5, 8, own_crop)
        built = MODELS.build(dict(teacher_model_config(chosen, outputs, 5, stand_in=True)))
    losses = built.loss([torch.randn(4, 3, 32, 32)])
    losses["loss_relation"].backward()
    assert built.neck.mlp[0].weight.grad.abs().sum() > 0


def test_beside_moco_the_student_has_two_views_and_infonce_has_its_weight(tmp_path):
    folder = draw(tmp_path / "images", 8)
    write_list(Scan(good=sorted(str(p) for p in folder.iterdir())), tmp_path)
    chosen = Choices("resnet18", 32, batch_size=4, queue_len=8, epochs=1, lr=0.01)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        outputs = probe(backbone_config("resnet18", 32, 1), 32)
        model = teacher_model_config(chosen, outputs, 5, stand_in=True, beside=0.25)
        cfg = with_teacher(run_config(chosen, outputs, tmp_path), model, True, None)
        built = MODELS.build(dict(model))
    (tmp_path / "config.py").write_text(cfg.pretty_text)
    read = run_settings(tmp_path).config  # as a run that goes on reads it
    assert read.model.type == "TaughtXMoCo"
    assert read.train_dataloader.dataset.pipeline[1].type == "TwoViews"
    losses = built.train().loss([torch.randn(4, 3, 32, 32) for _ in range(2)])
    assert losses.keys() == {"loss_nce", "loss_teacher_relation"}
    assert (built.queue_len, built.head.nce_weight, built.teacher_dims) == (8, 0.25, 5)
    losses["loss_teacher_relation"].backward()
    assert built.backbone.conv1.weight.grad.abs().sum() > 0


def chooser(images: int, pretrained: bool = False, on_gpu: bool = False, **given) -> TeacherChooser:
    found = TeacherChooser(Facts(images, np.full(images, 200), on_gpu, 2), given, pretrained)
    found.views()
    found.batch(1000, "")
    found.length()
    found.queue()
    return found


def test_a_step_compares_with_fewer_keys_on_a_cpu_and_no_encoder_has_a_momentum():
    assert chooser(50_000, on_gpu=True).choices.queue_len == 4096
    assert chooser(50_000).choices.queue_len == 1024
    assert chooser(300).choices.queue_len == 300
    assert chooser(50_000, queue_len=100).choices.queue_len == 100
    assert "momentum" not in {name for name, *_ in chooser(300).choices.rows()}
    with pytest.raises(PretrainError, match="all 300 images at most"):
        chooser(300, queue_len=301)


def test_a_student_with_good_weights_has_the_gentle_rate_and_no_view_of_a_key():
    found = chooser(300, pretrained=True).choices
    assert found.lr == 0.0003
    assert found.key_view == "strong"
    assert not {"key_view", "temperature"} & {name for name, *_ in found.rows()}
