# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every transfer config loads, builds, says what it is; its baselines differ by the start alone."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope, init_default_scope
from mmpretrain.registry import MODELS as PRETRAIN_MODELS

import xmoco_plugin
from xmoco_plugin.downstream import from_scratch
from xmoco_plugin.export import check_arrival
from xmoco_plugin.pretraining import ready

from ..read_config import read_config
from .drawn import CLASSES, draw
from .hosts import needs_mmdet, needs_mmseg

CONFIGS = Path(__file__).parents[2] / "configs"
FILES = [f for t in ("detection", "segmentation") for f in sorted((CONFIGS / t).glob("*.py"))]
MAIN = [f for f in FILES if not f.stem.endswith(("_scratch", "_imagenet"))]
# Those of single families of backbones: `xmoco transfer scratch` is their baseline.
READY = {name for row in ready.READY for name in (row.detector, row.segmentor)}
PAIRED = [f for f in MAIN if f.stem not in READY]
NEEDS = {"detection": needs_mmdet, "segmentation": needs_mmseg}


def params(files: list[Path]) -> list:
    return [
        pytest.param(f, id=f"{f.parent.name}/{f.stem}", marks=NEEDS[f.parent.name]) for f in files
    ]


def model_of(cfg: Config) -> torch.nn.Module:
    init_default_scope(cfg.default_scope)
    registry = __import__(f"{cfg.default_scope}.registry", fromlist=["MODELS"]).MODELS
    return registry.build(cfg.model)


@pytest.fixture(autouse=True)
def scope_afterwards():
    """Leaves the default scope as it was for other tests of this process."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


@pytest.mark.parametrize("path", FILES, ids=lambda f: f.stem)
def test_header_says_where_it_comes_from_how_to_run_it_and_what_to_expect(path):
    header = "\n".join(x for x in path.read_text().splitlines()[:6] if x.startswith("#"))
    for word in ("Source:", "Command:", "Hardware:", "Hours", "Expected:"):
        assert word in header, word
    assert path.relative_to(CONFIGS).as_posix() in header.split("Command:")[1].splitlines()[0]


def scopes(node) -> set[str]:
    """All values of `_scope_` in a config."""
    if isinstance(node, dict):
        mine = {node["_scope_"]} if "_scope_" in node else set()
        return mine.union(*map(scopes, node.values()))
    return set().union(*map(scopes, node)) if isinstance(node, (list, tuple)) else set()


@pytest.mark.parametrize("path", params(MAIN))
def test_inherited_by_the_packages_name_its_parts_are_looked_up_in_its_host(path):
    name = path.relative_to(CONFIGS).as_posix()
    cfg = Config.fromstring(f"_base_ = 'xmoco_plugin::{name}'", ".py")
    found = scopes(cfg.to_dict())
    assert found, "nothing is marked: this test would pass whatever is handed back"
    assert found == {cfg.default_scope}


@pytest.mark.parametrize("path", PAIRED, ids=lambda f: f.stem)
def test_both_baselines_stand_beside_it_and_are_short(path):
    for kind in ("scratch", "imagenet"):
        beside = path.with_name(f"{path.stem}_{kind}.py")
        text = beside.read_text()
        assert f'_base_ = "{path.name}"' in text
        assert len(text.splitlines()) < 20


@pytest.mark.parametrize("path", params(PAIRED))
def test_baselines_differ_by_the_start_alone(path):
    ours = read_config(path)
    from_scratch(ours)
    for kind in ("scratch", "imagenet"):
        other = read_config(path.with_name(f"{path.stem}_{kind}.py"))
        if kind == "imagenet":
            assert other.model.backbone.init_cfg.get("prefix") is None
            assert "BackboneArrivalHook" in [hook["type"] for hook in other.custom_hooks]
            from_scratch(other)
        assert other.to_dict() == ours.to_dict()


@pytest.mark.parametrize("path", params([f for f in FILES if f.stem not in READY]))
def test_model_builds_and_freezes_nothing(path):
    with torch.device("meta"):
        model = model_of(read_config(path))
    model.train()
    assert all(p.requires_grad for p in model.backbone.parameters())
    norms = [m for m in model.backbone.modules() if hasattr(m, "running_mean")]
    assert norms
    assert all(m.training for m in norms)


@pytest.mark.parametrize("path", params(MAIN))
def test_the_only_weights_it_starts_from_are_those_of_the_option(path):
    cfg = read_config(path)
    assert cfg.get("load_from") is None
    assert cfg.model.get("pretrained") is None
    assert cfg.model.backbone.init_cfg.to_dict() == dict(
        cfg.model.backbone.init_cfg.to_dict(), type="Pretrained", checkpoint="", prefix="backbone."
    )


STEPS = {
    "faster-rcnn_r18-fpn_small": 18,
    "faster-rcnn_r50-c4_24k_voc0712": 50,
    "mask-rcnn_r50-c4_1x_coco": 50,
    "mask-rcnn_r50-fpn_1x_coco": 50,
}


@needs_mmdet
@pytest.mark.slow
@pytest.mark.parametrize("name", STEPS)
def test_one_step_on_drawn_images_from_a_pretraining_checkpoint(name, tmp_path):
    cfg = read_config(CONFIGS / f"detection/{name}.py")
    torch.manual_seed(0)
    backbone = PRETRAIN_MODELS.build(dict(type="ResNet", depth=STEPS[name]))
    backbone.init_weights()
    checkpoint = tmp_path / "pretrained.pth"
    torch.save({f"backbone.{k}": v for k, v in backbone.state_dict().items()}, checkpoint)
    c4 = "c4" in name
    for part in (cfg.model.backbone, *([cfg.model.roi_head.shared_head] if c4 else [])):
        part.init_cfg.checkpoint = str(checkpoint)
    cfg.model.train_cfg.rpn_proposal.max_per_img = 16
    cfg.model.train_cfg.rcnn.sampler.num = 8
    model = model_of(cfg)
    model.init_weights()
    arrival = check_arrival(model, ignore=[r"shared_head\.norm\."])
    assert ("roi_head.shared_head" in arrival.parts) == c4

    pipeline = train_pipeline(cfg)
    for step in pipeline:
        for key in ("scale", "scales"):
            if key in step:
                step[key] = [(96, 96)] if key == "scales" else (96, 96)
    from mmdet.registry import DATASETS

    dataset = DATASETS.build(
        dict(
            type="CocoDataset",
            data_root=str(draw(tmp_path / "data", train=2, val=1)),
            ann_file="annotations/train.json",
            data_prefix=dict(img="train/"),
            metainfo=dict(classes=CLASSES),
            pipeline=pipeline,
        )
    )
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    log = model.train_step(
        pseudo_collate([dataset[0], dataset[1]]), build_optim_wrapper(model, cfg.optim_wrapper)
    )
    assert all(torch.isfinite(torch.as_tensor(value)).all() for value in log.values())
    after = model.state_dict()
    for part in (
        "backbone.conv1",
        "roi_head.bbox_head",
        *(["roi_head.shared_head.norm"] if c4 else []),
    ):
        changed = [k for k in after if k.startswith(part) and not torch.equal(after[k], before[k])]
        assert changed, part


def train_pipeline(cfg: Config) -> list:
    data = cfg.train_dataloader.dataset
    while "pipeline" not in data:
        data = data.datasets[0] if "datasets" in data else data.dataset
    return data.pipeline


@needs_mmdet
def test_voc_is_judged_by_ap_ap50_and_ap75_after_precise_bn():
    cfg = read_config(CONFIGS / "detection/faster-rcnn_r50-c4_24k_voc0712.py")
    assert all(abs(a - 0.5 - 0.05 * i) < 1e-9 for i, a in enumerate(cfg.val_evaluator.iou_thrs))
    assert len(cfg.val_evaluator.iou_thrs) == 10
    assert cfg.train_cfg.max_iters == 24000
    precise = next(h for h in cfg.custom_hooks if h["type"] == "TrainModePreciseBNHook")
    assert 24000 % precise.interval == 0


@needs_mmseg
def test_mmseg_configs_are_found_and_a_wrong_name_is_an_error(tmp_path):
    assert xmoco_plugin.__version__
    (tmp_path / "x.py").write_text("_base_ = ['mmseg::fcn/no_such_config.py']\n")
    with pytest.raises(FileNotFoundError, match="no_such_config"):
        Config.fromfile(tmp_path / "x.py")
