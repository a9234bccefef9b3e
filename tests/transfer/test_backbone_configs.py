# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The ready config of each backbone: what it builds, and the features of the pretraining."""

import importlib

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmpretrain.registry import MODELS

from xmoco_plugin.downstream import from_scratch
from xmoco_plugin.export import check_arrival
from xmoco_plugin.pretraining import RunSettings, backbone_config
from xmoco_plugin.pretraining.ready import READY, ready_configs

from ..benchmarks.conftest import load
from ..export.backbones import randomize
from ..read_config import read_config
from .drawn import CLASSES, draw
from .hosts import needs_mmdet, needs_mmseg
from .test_configs import CONFIGS, NEEDS, model_of, scope_afterwards, train_pipeline

__all__ = ["load", "scope_afterwards"]
FILES = {
    f"{folder}/{name}.py"
    for row in READY
    for folder, name in (("detection", row.detector), ("segmentation", row.segmentor))
    if name
}
# A second or less each; all of them are walked by tests/matrix/test_walks.py.
LIGHT = (
    *("detection/rtmdet_tiny_small", "detection/yolox_tiny_small"),
    *("detection/faster-rcnn_mobilenet-v2-fpn_small", "segmentation/fcn_mobilenet-v2_small"),
    "segmentation/segformer_mit-b0_small",
)


def marked(names) -> list:
    return [pytest.param(n, id=n, marks=NEEDS[n.split("/")[0]]) for n in sorted(names)]


def test_the_model_that_a_header_names_is_the_one_that_the_config_is_handed_to(load):
    named = load("backbones").ready_configs()
    assert set(named) == FILES
    for config, model in named.items():
        if model.startswith(("mmdet.", "mmseg.")):
            pytest.importorskip(model.split(".")[0])
        assert config in ready_configs(backbone_config(model, 64, 2)).values()


@pytest.mark.parametrize("name", marked(FILES))
def test_the_host_normalizes_images_as_the_pretraining_did(name):
    ours = Config.fromfile(CONFIGS / "xmoco_r50_1xb64_folder.py").data_preprocessor
    theirs = read_config(CONFIGS / name).model.data_preprocessor
    assert (list(theirs.mean), list(theirs.std)) == (list(ours.mean), list(ours.std))
    assert theirs.bgr_to_rgb is ours.to_rgb is True


@needs_mmdet
def test_detectors_of_the_small_tier_read_and_train_alike():
    first, *others = (
        read_config(CONFIGS / f"detection/{name}_small.py").to_dict()
        for name in ("faster-rcnn_r18-fpn", "rtmdet_s", "yolox_s")
    )
    kept = ("ann_file", "data_prefix", "pipeline", "data_root", "filter_cfg", "type")
    for other in others:
        for stage in ("train", "val", "test"):
            a, b = (cfg[f"{stage}_dataloader"]["dataset"] for cfg in (first, other))
            assert {k: b.get(k) for k in kept if k in a} == {k: a[k] for k in kept if k in a}
        for key in ("train_cfg", "param_scheduler", "class_names", "auto_scale_lr"):
            assert other[key] == first[key]


@pytest.mark.parametrize("name", marked(LIGHT))
def test_all_weights_arrive_and_give_the_features_of_the_pretraining(name, load, tmp_path):
    module = load("backbones")
    settings = backbone_config(module.ready_configs()[f"{name}.py"], 64, 1)
    torch.manual_seed(0)
    backbone = MODELS.build(settings)
    backbone.init_weights()
    randomize(backbone)
    weights = tmp_path / "backbone.pth"
    torch.save({f"backbone.{key}": v for key, v in backbone.state_dict().items()}, weights)
    cfg = module.brought(f"{name}.py", weights, tmp_path)
    host = torch.nn.Module()
    assert max(module.compared(cfg, settings, weights, 64).values()) < 1e-5
    host.backbone = module.built(cfg.model.backbone.to_dict(), str(cfg.default_scope))
    ignore = [h.get("ignore", ()) for h in cfg.custom_hooks if h.type == "BackboneArrivalHook"]
    arrival = check_arrival(host, ignore=ignore[0])
    assert arrival.arrived >= 100
    assert all(p.requires_grad for p in host.backbone.parameters())


@needs_mmdet
@pytest.mark.slow
@pytest.mark.parametrize("name", ["rtmdet_tiny_small", "yolox_tiny_small"])
def test_a_one_stage_detector_trains_a_step_on_drawn_images(name, tmp_path):
    from mmdet.registry import DATASETS

    cfg = read_config(CONFIGS / f"detection/{name}.py")
    from_scratch(cfg)
    model = model_of(cfg)
    pipeline = train_pipeline(cfg)
    pipeline[2].scale = (96, 96)
    data = dict(type="CocoDataset", data_root=str(draw(tmp_path / "data", train=2, val=1)))
    data |= dict(ann_file="annotations/train.json", data_prefix=dict(img="train/"))
    dataset = DATASETS.build({**data, "metainfo": dict(classes=CLASSES), "pipeline": pipeline})
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    log = model.train_step(
        pseudo_collate([dataset[0], dataset[1]]), build_optim_wrapper(model, cfg.optim_wrapper)
    )
    assert all(torch.isfinite(torch.as_tensor(value)).all() for value in log.values())
    changed = {k.split(".")[0] for k, v in model.state_dict().items() if not v.equal(before[k])}
    assert changed >= {"backbone", "neck", "bbox_head"}


@needs_mmseg
@needs_mmdet
def test_a_run_hands_on_the_configs_that_are_made_for_its_backbone(tmp_path, monkeypatch):
    own = importlib.import_module("xmoco_plugin.pretraining.hand_over")  # not the function
    settings = backbone_config("MobileNetV2", 64, 1)
    state = {f"backbone.{k}": v for k, v in MODELS.build(settings).state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / "backbone.pth")
    config = Config(dict(model=dict(type="XMoCo", backbone=settings)))
    monkeypatch.setattr(own, "run_settings", lambda folder: RunSettings(config, None))
    text = own.hand_over(tmp_path).read_text()
    for host, name in (("mmdet", "detection/faster-rcnn_mobilenet-v2-fpn_small"),
                       ("mmseg", "segmentation/fcn_mobilenet-v2_small")):  # fmt: skip
        assert f"## {host}\n\n`finetune_{host}.py` inherits configs/{name}.py" in text
        cfg = Config.fromfile(tmp_path / f"finetune_{host}.py")
        assert cfg.pretrained == str(tmp_path / "backbone.pth")
        assert cfg.model.backbone.type.endswith("MobileNetV2")
