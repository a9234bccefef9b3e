# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""configs/linear and configs/semi: what they say, that they start, and that frozen means frozen."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from PIL import Image

import xmoco_plugin  # noqa: F401
from xmoco_plugin.checkpoint import CheckpointError
from xmoco_plugin.cli import train
from xmoco_plugin.downstream import prepare
from xmoco_plugin.downstream.errors import DownstreamError

from .tiny_runner import QuietRunner

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = [f for room in ("linear", "semi") for f in sorted((CONFIGS / room).glob("*.py"))]
CIFAR = [f for f in FILES if "cifar10" in f.name]


@pytest.fixture(autouse=True)
def host_scope():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


def save_backbone(cfg: Config, path: Path) -> dict:
    """A pretraining checkpoint for the config's backbone, unlike any fresh one."""
    torch.manual_seed(7)
    backbone = MODELS.build({**copy.deepcopy(cfg.model.backbone), "init_cfg": None})
    state = {}
    for key, value in backbone.state_dict().items():
        noise = torch.rand(value.shape) if value.is_floating_point() else torch.tensor(3)
        state[f"backbone.{key}"] = 0.05 * noise + (0.5 if "running_var" in key else 0)
        state[f"backbone.{key}"] = state[f"backbone.{key}"].to(value.dtype)
    torch.save({"state_dict": {**state, "queue": torch.zeros(8, 4)}, "meta": {}}, path)
    return state


def small(path: Path, tmp_path: Path) -> Config:
    """The config with a narrow network and a few images, some steps of two epochs."""
    cfg = Config.fromfile(path)
    cfg.work_dir, cfg.experiment_name = str(tmp_path / "work"), path.stem
    cfg.model.backbone.update(base_channels=8, stem_channels=8)
    cfg.model.head.in_channels = 64 * (4 if cfg.model.backbone.depth >= 50 else 1)
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        images = random.integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{split}.npz", images=images, labels=np.arange(40) % 10)
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(4):
                image = Image.fromarray(random.integers(0, 256, (40, 48, 3), dtype=np.uint8))
                image.save(tmp_path / split / name / f"{name}{i}.jpg")
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        data = loader.dataset
        if data.type == "LabelledShare":
            data.percent = 50
            data = data.dataset
        data.data_root = str(tmp_path)
        if data.type == "ImageNet":
            data.metainfo = dict(classes=("a", "b"))
            for step in data.pipeline:  # the same transforms on smaller images
                step.update({k: v // 7 for k, v in step.items() if k in ("scale", "crop_size")})
        loader.update(batch_size=4, num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_epochs=2, val_interval=2)
    cfg.pretrained = str(tmp_path / "pretrained.pth")
    cfg.log_level = "WARNING"
    return cfg


@pytest.mark.parametrize("path", FILES, ids=lambda f: f.stem)
def test_header_says_where_it_comes_from_how_to_run_it_and_what_to_expect(path):
    lines = path.read_text().splitlines()
    header = "\n".join(x for x in lines[:7] if x.startswith("#"))
    for word in ("Source:", "Command:", "Hardware:", "Hours", "Expected:", "pretrained=CKPT"):
        assert word in header, word
    assert path.relative_to(CONFIGS).as_posix() in header.split("Command:")[1].splitlines()[0]


@pytest.mark.parametrize("path", FILES, ids=lambda f: f.stem)
def test_it_trains_from_a_checkpoint_and_a_frozen_backbone_stays_as_it_came(path, tmp_path):
    cfg = small(path, tmp_path)
    given = save_backbone(cfg, tmp_path / "pretrained.pth")
    prepare(cfg)
    runner = QuietRunner.from_cfg(cfg)
    head = runner.model.head.fc.weight.detach().clone()
    runner.train()
    assert not torch.equal(runner.model.head.fc.weight, head)
    backbone = {f"backbone.{k}": v for k, v in runner.model.backbone.state_dict().items()}
    same = {key: torch.equal(value, given[key]) for key, value in backbone.items()}
    if path.parent.name == "linear":
        # Weights, running means and variances, and the batches that BatchNorm has counted.
        assert all(same.values()), [key for key, equal in same.items() if not equal]
        assert not any(p.requires_grad for p in runner.model.backbone.parameters())
    else:
        moved = [key for key, equal in same.items() if not equal]
        assert any("conv" in key for key in moved)
        assert any("running_mean" in key for key in moved)


@pytest.mark.parametrize("path", FILES, ids=lambda f: f.stem)
def test_the_real_model_is_a_classifier_on_the_pretrained_kind_of_backbone(path):
    cfg = Config.fromfile(path)
    cfg.model.backbone.init_cfg = None
    model = MODELS.build(cfg.model).eval()
    classes = 10 if path in CIFAR else 1000
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 64)).shape == (1, classes)
    pretraining = "xmoco_r18_1xb512_cifar10.py" if path in CIFAR else "xmoco_r50_8xb32.py"
    theirs = MODELS.build(Config.fromfile(CONFIGS / pretraining).model.backbone)
    assert set(model.backbone.state_dict()) == set(theirs.state_dict())


def test_without_a_checkpoint_it_does_not_start_and_says_how_to_name_one(tmp_path):
    cfg = Config.fromfile(FILES[0])
    with pytest.raises(DownstreamError, match="--cfg-options pretrained=FILE"):
        prepare(cfg)
    cfg.pretrained = str(tmp_path / "none.pth")
    with pytest.raises(DownstreamError, match="there is no pretraining checkpoint"):
        prepare(cfg)


def test_a_checkpoint_that_lacks_backbone_keys_stops_before_the_first_step(tmp_path):
    cfg = small(CIFAR[0], tmp_path)
    state = save_backbone(cfg, tmp_path / "pretrained.pth")
    del state["backbone.layer3.0.conv1.weight"]
    torch.save({"state_dict": state}, tmp_path / "pretrained.pth")
    prepare(cfg)
    with pytest.raises(CheckpointError, match=r"layer3\.0\.conv1\.weight"):
        QuietRunner.from_cfg(cfg).train()


def test_training_starts_with_the_one_command_of_the_header(tmp_path, monkeypatch):
    cfg = small(CIFAR[0], tmp_path)
    save_backbone(cfg, tmp_path / "pretrained.pth")
    options = [
        "pretrained=" + cfg.pretrained,
        *("model.backbone.base_channels=8", "model.backbone.stem_channels=8"),
        *("model.head.in_channels=64", "train_cfg.max_epochs=1", "train_dataloader.num_workers=0"),
    ]
    command = [str(CIFAR[0]), "--data-root", str(tmp_path), "--work-dir", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", ["train.py", *command, "--cfg-options", *options])
    assert train.common.run(train.main) == 0
    assert list((tmp_path / "work").glob("*.pth"))
