# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every config loads, builds its real model, and takes one step on a shrunken copy of it."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.logging import MessageHub
from mmengine.optim import build_optim_wrapper
from mmengine.registry import FUNCTIONS, PARAM_SCHEDULERS, DefaultScope
from mmpretrain.registry import MODELS
from PIL import Image

import xmoco_plugin  # noqa: F401
from tests.read_config import read_config
from tests.shrunken import shrunken

CONFIGS = Path(__file__).parents[1] / "configs"
# Those of fine-tuning have their own tests: tests/transfer, tests/test_classifier_configs.py.
ELSEWHERE = {"_base_", "detection", "linear", "segmentation", "semi"}
EVERY = sorted(f for f in CONFIGS.rglob("*.py") if not ELSEWHERE & set(f.parts))
# Those train in tests/plug_in and tests/teachers.
FILES = [f for f in EVERY if f.parent.name not in ("plug_in", "teacher")]


@pytest.fixture(params=FILES, ids=lambda f: str(f.relative_to(CONFIGS)))
def path(request):
    return request.param


@pytest.fixture(autouse=True)
def host_scope():
    """Transforms are built in the scope that the Runner sets from ``default_scope``."""
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


@pytest.fixture
def no_graphs(path):
    """Compiling takes minutes on a CPU, for graphs that there are none of: tests/algorithms."""
    options = read_config(path).model.get("compile_encoders")
    graphs = isinstance(options, dict) and options.get("mode") == "reduce-overhead"
    with torch.compiler.set_stance("force_eager" if graphs else "default"):
        yield


def sample(cfg: Config, folder: Path) -> dict:
    """What the dataset hands to the pipeline: a file, or pixels where they are in memory."""
    pixels = np.random.randint(0, 256, (64, 80, 3), dtype=np.uint8)
    if cfg.train_dataloader.dataset.pipeline[0].type != "LoadImageOrSkip":
        return dict(img=pixels, img_shape=pixels.shape[:2])
    Image.fromarray(pixels).save(folder / "image.png")
    return dict(img_path=str(folder / "image.png"))


def first_batch(cfg: Config, folder: Path, size: int) -> dict:
    """A batch of one image over and over, through the training pipeline."""
    pipeline = Compose(cfg.train_dataloader.dataset.pipeline)
    collate = FUNCTIONS.get(cfg.train_dataloader.collate_fn.type)
    start = sample(cfg, folder)
    return collate([pipeline(dict(start)) for _ in range(size)])


def build_shrunken(cfg: Config):
    if cfg.model.get("compile_encoders") is True:
        # Traced as by the default compiler, forward and backward, without the minutes of C++ that
        # it writes and compiles: tests/algorithms/test_fast_step.py compares what those compute.
        cfg.model.compile_encoders = dict(backend="aot_eager")
    preprocessor = cfg.model.get("data_preprocessor", cfg.get("data_preprocessor"))
    return MODELS.build({**shrunken(cfg.model), "data_preprocessor": preprocessor}).train()


@pytest.mark.parametrize("path", EVERY, ids=lambda f: str(f.relative_to(CONFIGS)))
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
    cfg = read_config(path)
    model = MODELS.build(cfg.model).eval()
    size = cfg.model.backbone.get("img_size", 64)
    # Compiled in the step below, with fewer channels.
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        embedding = model.neck(model.backbone(torch.zeros(2, 3, size, size)))[0]
    assert embedding.shape == (2, cfg.model.neck.out_channels)
    if "queue_len" in cfg.model:
        assert model.queue.shape == (cfg.model.feat_dim, cfg.model.queue_len)


@pytest.mark.usefixtures("no_graphs")
def test_one_step_from_image_to_updated_weights_and_queue_on_a_shrunken_copy(path, tmp_path):
    cfg = read_config(path)
    torch.manual_seed(0)
    np.random.seed(0)
    MessageHub.get_current_instance().update_info("max_iters", 10)  # as a Runner does
    batch = first_batch(cfg, tmp_path, 4)
    model = build_shrunken(cfg)
    before = copy.deepcopy(model.state_dict())
    options = dict(cfg.optim_wrapper, type="OptimWrapper")  # mixed precision needs an accelerator
    for setting in ("loss_scale", "dtype"):
        options.pop(setting, None)
    wrapper = build_optim_wrapper(model, options)
    for scheduler in cfg.param_scheduler:
        counts = "convert_to_iter_based"  # for the Runner
        settings = {key: value for key, value in scheduler.items() if key != counts}
        PARAM_SCHEDULERS.build({**settings, "optimizer": wrapper})
    log = model.train_step(batch, wrapper)
    assert all(torch.isfinite(value) for value in log.values())
    after = model.state_dict()
    if "queue_len" in cfg.model:
        assert {"loss", "loss_nce", "loss_consistency", "loss_uniformity"} <= set(log)
        assert not torch.equal(after["queue"][:, :4], before["queue"][:, :4])
    assert any(not torch.equal(after[k], before[k]) for k in after if k.startswith("backbone"))


def test_views_of_one_image_differ(path, tmp_path):
    cfg = read_config(path)
    np.random.seed(0)
    batch = first_batch(cfg, tmp_path, 1)
    first, second = build_shrunken(cfg).data_preprocessor(batch, training=True)["inputs"]
    assert first.shape == second.shape
    assert not torch.equal(first, second)


def test_main_config_is_short_and_inherits_mmpretrains():
    text = (CONFIGS / "xmoco_r50_8xb32.py").read_text()
    assert len(text.splitlines()) <= 40
    assert "mmpretrain::mocov2/" in text


def test_a_config_of_the_host_is_looked_up_once_a_process(monkeypatch):
    text = '_base_ = "mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py"'
    first = Config.fromstring(text, ".py")
    monkeypatch.delattr("mmengine.config.config._get_external_cfg_path")
    assert Config.fromstring(text, ".py").to_dict() == first.to_dict()
