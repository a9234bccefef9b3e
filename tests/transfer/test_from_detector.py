# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""From a detector's checkpoint into a pretraining, and its backbone back into the detector."""

import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import nn

from xmoco_plugin.pretraining import look_into

from ..export import backbones
from ..forked import train_in_a_fork
from ..pretrain_tool.command import FAST
from ..pretraining import folder
from ..tool_modules import import_tool, run_tool
from . import detectors
from .drawn import CLASSES, draw
from .hosts import needs_mmdet, needs_mmseg
from .small import DETECTOR, ROOT

R18 = dict(type="ResNet", depth=18)


def into(source: Path, detector: Path, out: Path, monkeypatch) -> int:
    return run_tool(import_tool("export_backbone"), monkeypatch, source, out, "--into", detector)


def check_merged(out: Path, before: dict, run: nn.Module) -> nn.Module:
    """Neck, heads and meta as before, the run's features in a model that takes all; returns it."""
    after = torch.load(out, weights_only=True)
    assert set(after) == {"meta", "state_dict", "message_hub"}
    assert {k: v for k, v in after["meta"].items() if k != "backbone"} == before["meta"]
    assert after["meta"]["backbone"]["architecture"] == "resnet18"
    others = [key for key in before["state_dict"] if not key.startswith("backbone.")]
    assert len(others) > 20
    for key in others:
        assert torch.equal(after["state_dict"][key], before["state_dict"][key]), key
    model = detectors.build(Config.fromstring(before["meta"]["cfg"], ".py"))
    model.load_state_dict(after["state_dict"], strict=True)
    images = torch.randn(2, 3, 96, 96)
    model.eval()
    run.eval()  # which returns None in mmpretrain
    with torch.no_grad():
        theirs, ours = model.backbone(images)[-1], run(images)[-1]
    assert (theirs - ours).abs().max() <= 1e-5 * ours.abs().max()
    assert ours.abs().max() > 0
    return model


@needs_mmdet
@pytest.mark.slow
def test_a_detectors_backbone_learns_from_images_and_goes_back_into_the_detector(
    tmp_path, monkeypatch, capsys
):
    cfg = detectors.config("mmdet", **detectors.BGR)
    file, run, out = tmp_path / "detector.pth", tmp_path / "run", tmp_path / "new.pth"
    before = detectors.save(cfg, file)
    folder.draw(tmp_path / "images", 9)
    pretrain = import_tool("pretrain")
    monkeypatch.setattr(pretrain.end, "report", lambda folder: None)
    train_in_a_fork(pretrain, monkeypatch)
    words = ("--data", tmp_path / "images", "--out", run, "--init", file, *FAST)
    assert run_tool(pretrain, monkeypatch, *words) == 0
    said = capsys.readouterr().out
    assert (
        "a detector's or segmentor's weights: its backbone is taken (backbone.*, 120 tensors); "
        "left out: ema_state_dict 151 tensors, neck 16 tensors, roi_head 8 tensors, rpn_head 6"
    ) in said
    assert "the backbone of --init" in said  # resnet18, which was not named
    assert "BGR, mean 103.53 116.28 123.675, std 57.375 57.12 58.395" in said
    settings = Config.fromfile(run / "config.py")
    assert {k: settings.data_preprocessor[k] for k in detectors.BGR} == detectors.BGR
    fine_tuning = Config.fromfile(run / "finetune_mmdet.py").model.data_preprocessor
    assert {k: fine_tuning[k] for k in detectors.BGR} == detectors.BGR
    assert f"--into {file}" in (run / "next_steps.md").read_text()
    started = torch.load(run / "start.pth", weights_only=True)["state_dict"]
    first = before["state_dict"]
    assert all(torch.equal(v, first[k]) for k, v in started.items())

    assert into(run, file, out, monkeypatch) == 0
    said = capsys.readouterr().out
    assert "120 tensors of its backbone replaced" in said
    assert "kept:     neck 16 tensors, roi_head 8 tensors, rpn_head 6 tensors" in said
    assert "dropped:  optimizer, param_schedulers, ema_state_dict, which belong to the old" in said
    assert "warning" not in said
    weights = torch.load(run / "backbone.pth", weights_only=True)["state_dict"]
    assert not torch.equal(weights["backbone.conv1.weight"], first["backbone.conv1.weight"])
    ours = MODELS.build(R18)
    ours.load_state_dict({k.removeprefix("backbone."): v for k, v in weights.items()})
    model = check_merged(out, before, ours)
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    theirs = model.data_preprocessor(dict(inputs=[image]))["inputs"]
    seen = MODELS.build(settings.data_preprocessor)(dict(inputs=[image[None]], data_samples=[]))[
        "inputs"
    ]
    torch.testing.assert_close(theirs, seen[0])

    data = draw(tmp_path / "data", train=1, val=2)
    options = [f"model.data_preprocessor.{k}={v!r}".replace(" ", "") for k, v in BGR_OPTIONS]
    words = (ROOT / DETECTOR, out, "--data-root", data, "--work-dir", tmp_path / "test")
    tested = run_tool(import_tool("test"), monkeypatch, *words, "--cfg-options", *options)
    assert tested == 0
    apis = importlib.import_module("mmdet.apis")
    picture = np.zeros((64, 64, 3), np.uint8)
    found = apis.inference_detector(apis.init_detector(cfg, str(out), device="cpu"), picture)
    assert found.pred_instances.bboxes.shape[1] == 4


BGR_OPTIONS = [*detectors.BGR.items()]


@needs_mmseg
def test_a_segmentor_is_read_and_gets_a_backbone_and_mmseg_infers_with_it(
    tmp_path, monkeypatch, capsys
):
    cfg = detectors.config("mmseg")
    file, out = tmp_path / "segmentor.pth", tmp_path / "new.pth"
    before = detectors.save(cfg, file)
    offered = look_into(str(file))
    assert (offered.model, offered.detector, offered.inputs.channels) == ("resnet18", True, "RGB")
    assert "left out: auxiliary_head 8 tensors, decode_head 20 tensors, ema_st" in offered.note
    assert "trained with strides=(1, 2, 2, 1) (others: (1, 2, 2, 2)), dil" in offered.note
    network = backbones.xmoco(R18)
    source = backbones.save(network, tmp_path / "run.pth", R18)
    assert into(source, file, out, monkeypatch) == 0
    assert "kept:     auxiliary_head 8 tensors, decode_head 20 tensors" in capsys.readouterr().out
    # mmseg looks at it with other strides and dilations, which no weight shows.
    ours = MODELS.build({**R18, **{k: cfg.model.backbone[k] for k in ("strides", "dilations")}})
    ours.load_state_dict(network.backbone.state_dict())
    check_merged(out, before, ours)
    apis = importlib.import_module("mmseg.apis")
    model = apis.init_model(cfg, str(out), device="cpu")
    found = apis.inference_model(model, np.zeros((64, 64, 3), np.uint8))
    assert found.pred_sem_seg.data.max() <= len(CLASSES)
