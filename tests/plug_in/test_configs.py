# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every plug-in config: short, the host's but for the head, and trained by a real Runner."""

import copy
import json

import pytest
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import load_checkpoint
from mmpretrain.registry import MODELS

from tests import tiny_runner
from tests.plug_in.rows import CONFIGS, build, host_of
from tests.read_config import read_config
from tests.shrunken import shrunken

FILES = sorted(CONFIGS.glob("*.py"))
EACH = pytest.mark.parametrize("path", FILES, ids=lambda f: f.stem)
TERMS = ("loss_consistency", "loss_uniformity")


def small(path) -> Config:
    """The config with a narrow model that takes the 8-pixel images of TinyImages."""
    cfg = read_config(path)
    cfg.model = shrunken(cfg.model)
    if "img_size" in cfg.model.backbone:
        cfg.model.backbone.update(img_size=8, patch_size=4)
    for hook in cfg.get("custom_hooks", []):
        if hook.type == "SwAVHook":  # its queue and its frozen prototypes within 8 steps
            hook.update(batch_size=4, feat_dim=8, queue_length=8, epoch_queue_starts=1)
            hook.frozen_layers_cfg.prototypes = 2
    return cfg


def runner_of(cfg, work_dir, **overrides):
    """Two epochs of four steps with the config's model, hooks and options of its optimizer."""
    # The configs' own optimizers belong to large batches.
    optimizer = dict(type="SGD", lr=0.01, momentum=0.9, weight_decay=1e-4)
    loader = tiny_runner.loader()
    if cfg.model.type == "SwAV":
        views = [[dict(type="RandomFlip", prob=0.5)], [dict(type="CenterCrop", crop_size=6)]]
        loader["dataset"]["pipeline"][0] = dict(
            type="MultiView", num_views=[2, 6], transforms=views
        )
    return tiny_runner.build(
        work_dir,
        hooks=cfg.get("custom_hooks", []),
        model=dict(cfg.model, data_preprocessor=dict(mean=[128.0] * 3, std=[64.0] * 3)),
        train_dataloader=loader,
        optim_wrapper=dict(
            optimizer=optimizer, paramwise_cfg=cfg.optim_wrapper.get("paramwise_cfg")
        ),
        **overrides,
    )


@EACH
def test_only_the_head_differs_from_the_hosts_config(path):
    assert len(path.read_text().splitlines()) <= 25
    ours = read_config(path)
    name = next(line for line in path.read_text().splitlines() if line.startswith("_base_"))
    theirs = Config.fromstring(name, ".py")
    host = ours.to_dict()
    assert host.pop("custom_imports")["imports"] == ["xmoco_plugin"]
    host["model"] = host_of(ours.model).to_dict()
    assert host == theirs.to_dict()


@EACH
def test_the_real_model_builds(path):
    model = MODELS.build(read_config(path).model)
    assert model.head.consistency.loss_weight == 1.0
    assert model.head.uniformity.loss_weight == 0.1


@EACH
def test_two_epochs_of_a_real_runner_from_a_host_checkpoint_to_one_that_the_host_reads(
    path, tmp_path
):
    cfg = small(path)
    host = build(host_of(cfg.model)).float()
    torch.save(dict(state_dict=host.state_dict()), tmp_path / "host.pth")
    runner = runner_of(cfg, tmp_path)
    runner.load_checkpoint(str(tmp_path / "host.pth"), strict=True)
    start = copy.deepcopy(runner.model.state_dict())
    assert list(start) == list(host.state_dict())
    assert all(torch.equal(value, start[name]) for name, value in host.state_dict().items())

    runner.train()
    (scalars,) = tmp_path.rglob("scalars.json")
    lines = [json.loads(line) for line in scalars.read_text().splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert {"loss", *TERMS} <= set(line)
    assert all(term in next(tmp_path.rglob("*.log")).read_text() for term in TERMS)

    trained = runner.model.state_dict()
    backbone = [name for name in start if name.startswith("backbone") and "weight" in name]
    assert any(not torch.equal(trained[name], start[name]) for name in backbone)
    for model in (host, MODELS.build(cfg.model)):
        load_checkpoint(model, str(tmp_path / "epoch_2.pth"), map_location="cpu", strict=True)
        for name, value in model.state_dict().items():
            assert torch.equal(value, trained[name]), name


@pytest.mark.parametrize("name", ["simsiam-r50"])  # two groups of parameters
def test_a_run_of_the_host_is_resumed_with_the_terms(name, tmp_path):
    cfg = small(CONFIGS / f"xmoco_{name}.py")
    cfg.model, full = host_of(cfg.model), cfg.model
    host = runner_of(cfg, tmp_path, train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=1))
    host.train()
    momenta = host.optim_wrapper.optimizer.state_dict()["state"]
    cfg.model = full
    ours = runner_of(cfg, tmp_path, load_from=str(tmp_path / "epoch_1.pth"), resume=True)
    ours.optim_wrapper = ours.build_optim_wrapper(ours.optim_wrapper)
    ours.load_or_resume()
    resumed = ours.optim_wrapper.optimizer.state_dict()["state"]
    for key, value in momenta.items():
        assert torch.equal(resumed[key]["momentum_buffer"], value["momentum_buffer"])
    ours.train()
    assert ours.iter == 8
    assert ours.message_hub.get_scalar("train/loss_consistency").data[0].size == 8  # 2 a step


@EACH
def test_the_line_of_the_docs_adds_a_health_hook_and_keeps_the_hosts_hooks(path, tmp_path):
    cfg = read_config(path)
    cfg.merge_from_dict({"default_hooks.health.type": "HealthHook"})  # as --cfg-options does
    own = [hook.type for hook in cfg.get("custom_hooks", [])]
    runner = runner_of(small(path), tmp_path, default_hooks=cfg.default_hooks)
    found = [type(hook).__name__ for hook in runner.hooks]
    assert found.count("HealthHook") == 1
    assert set(own) <= set(found)


def test_with_that_line_a_plug_in_run_gives_a_verdict(tmp_path):
    hooks = dict(health=dict(type="HealthHook", interval=2))
    runner_of(small(CONFIGS / "xmoco_simsiam-r50.py"), tmp_path, default_hooks=hooks).train()
    lines = [json.loads(line) for line in (tmp_path / "health.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all(line["verdict"] for line in lines)
