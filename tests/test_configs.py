# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every config loads, builds its real model, and takes one step on a shrunken copy of it."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, default_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from PIL import Image

import xmoco_plugin  # noqa: F401

CONFIGS = Path(__file__).parents[1] / "configs"
# Those of fine-tuning have their own tests: tests/transfer, tests/test_classifier_configs.py.
ELSEWHERE = {"_base_", "detection", "linear", "segmentation", "semi"}
FILES = sorted(f for f in CONFIGS.rglob("*.py") if not ELSEWHERE & set(f.parts))


def shrunken(model: Config) -> Config:
    """The same structure with few channels and a short queue."""
    model = copy.deepcopy(model)
    bottleneck = model.backbone.depth >= 50
    model.backbone.update(base_channels=8, stem_channels=8)
    if model.backbone.get("norm_cfg", {}).get("type") == "SplitBN":
        model.backbone.norm_cfg.num_splits = 2
    model.neck.in_channels = 8 * 8 * (4 if bottleneck else 1)
    if "hid_channels" in model.neck:
        model.neck.hid_channels = 16
    model.neck.out_channels = model.feat_dim = 8
    model.queue_len = 16
    return model


@pytest.fixture(params=FILES, ids=lambda f: str(f.relative_to(CONFIGS)))
def path(request):
    return request.param


@pytest.fixture(autouse=True)
def host_scope():
    """Transforms are built in the scope that the Runner sets from ``default_scope``."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def sample(cfg: Config, folder: Path) -> dict:
    """What the dataset hands to the pipeline: a file, or pixels where they are in memory."""
    pixels = np.random.randint(0, 256, (64, 80, 3), dtype=np.uint8)
    if cfg.train_dataloader.dataset.pipeline[0].type != "LoadImageOrSkip":
        return dict(img=pixels, img_shape=pixels.shape[:2])
    Image.fromarray(pixels).save(folder / "image.png")
    return dict(img_path=str(folder / "image.png"))


def test_header_says_where_it_comes_from_how_to_run_it_and_what_to_expect(path):
    header = []
    for line in path.read_text().splitlines():
        if not line.startswith("#"):
            break
        header.append(line)
    text = "\n".join(header)
    for word in ("Source:", "Command:", "Hardware:", "Hours"):
        assert word in text, word
    assert "Expected:" in text or "not yet run" in text
    assert path.relative_to(CONFIGS).as_posix() in text.split("Command:")[1].splitlines()[0]


def test_real_model_builds_with_the_shapes_that_its_parts_need(path):
    cfg = Config.fromfile(path)
    model = MODELS.build(cfg.model).eval()
    with torch.no_grad():
        embedding = model.neck(model.backbone(torch.zeros(2, 3, 64, 64)))[0]
    assert embedding.shape == (2, cfg.model.feat_dim)
    assert model.queue.shape == (cfg.model.feat_dim, cfg.model.queue_len)


def test_one_step_from_image_to_updated_queue_on_a_shrunken_copy(path, tmp_path):
    cfg = Config.fromfile(path)
    torch.manual_seed(0)
    np.random.seed(0)
    pipeline = Compose(cfg.train_dataloader.dataset.pipeline)
    start = sample(cfg, tmp_path)
    batch = default_collate([pipeline(dict(start)) for _ in range(4)])

    preprocessor = cfg.get("data_preprocessor", cfg.model.get("data_preprocessor"))
    model = MODELS.build({**shrunken(cfg.model), "data_preprocessor": preprocessor}).train()
    before = copy.deepcopy(model.state_dict())
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    log = model.train_step(batch, wrapper)
    assert {"loss", "loss_nce", "loss_consistency", "loss_uniformity"} <= set(log)
    assert all(torch.isfinite(value) for value in log.values())
    after = model.state_dict()
    assert not torch.equal(after["queue"][:, :4], before["queue"][:, :4])
    assert any(not torch.equal(after[k], before[k]) for k in after if k.startswith("backbone"))


def test_views_of_one_image_differ(path, tmp_path):
    cfg = Config.fromfile(path)
    np.random.seed(0)
    first, second = Compose(cfg.train_dataloader.dataset.pipeline)(sample(cfg, tmp_path))["inputs"]
    assert first.shape == second.shape
    assert not torch.equal(first, second)


def test_main_config_is_short_and_inherits_mmpretrains():
    text = (CONFIGS / "xmoco_r50_8xb32.py").read_text()
    assert len(text.splitlines()) <= 40
    assert "mmpretrain::mocov2/" in text
