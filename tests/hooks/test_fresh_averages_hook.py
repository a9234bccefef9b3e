# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""BatchNorm's averages that lag behind a short run are measured anew before its checkpoints."""

import copy

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.hooks import FreshAveragesHook, fresh_averages_hook
from xmoco_plugin.hooks.averages import norms_that_follow
from xmoco_plugin.momentum import SplitBN
from xmoco_plugin.pretraining.start import add_start_hooks

from .. import models, tiny_runner
from . import health_run


@MODELS.register_module(force=True)
class FaintEncoder(nn.Module):
    """(N, 3, H, W) -> ((N, 16, H, W),): each norm sees a signal far below 1, its first average."""

    def __init__(self, split: bool = False) -> None:
        super().__init__()
        norm = (lambda: SplitBN(16, num_splits=2)) if split else (lambda: nn.BatchNorm2d(16))
        norm = SplitBN(16, num_splits=2) if split else nn.BatchNorm2d(16)
        self.layers = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(i, 16, 1), copy.deepcopy(norm)) for i in (3, 16, 16))
        )
        with torch.no_grad():
            for layer in self.layers:
                layer[0].weight.mul_(0.01)

    def forward(self, x):
        return (self.layers(x),)

    def init_weights(self):
        """Nothing to load."""


def build(folder, hook=None, split=False, **options):
    model = models.config(backbone=dict(type="FaintEncoder", split=split))
    model["data_preprocessor"] = health_run.PREPROCESSOR
    hooks = [dict(type="FreshAveragesHook", **hook)] if hook is not None else []
    steps = dict(optimizer=dict(type="SGD", lr=1e-6))  # or the weights grow
    return tiny_runner.build(folder, hooks=hooks, model=model, optim_wrapper=steps, **options)


def hook_of(runner):
    return next(hook for hook in runner.hooks if isinstance(hook, FreshAveragesHook))


def backbone(folder, epoch=2):
    state = read_checkpoint(folder / f"epoch_{epoch}.pth")["state_dict"]
    return {key: value for key, value in state.items() if key.startswith("backbone.")}


def test_the_checkpoint_of_a_few_steps_tells_images_apart_in_evaluation_mode_by_the_same_weights(
    tmp_path,
):
    spread = {}
    for name, hook in (("without", None), ("with", {})):
        runner = build(tmp_path / name, hook, split=True)
        runner.train()
        images = torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            spread[name] = float(runner.model.backbone.eval()(images)[0].std(dim=0).mean())
    assert spread["without"] < 0.01
    assert spread["with"] > 0.3
    without, with_ = (backbone(tmp_path / name) for name in ("without", "with"))
    for key, value in without.items():
        assert torch.equal(value, with_[key]) == ("running" not in key), key


def test_they_are_the_mean_over_batches_of_training_views_whatever_has_gone_before(tmp_path):
    runner = build(tmp_path, {"images": 12})
    runner.train()
    model, seen = runner.model, []
    model.train()
    handle = model.backbone.layers[0][1].register_forward_pre_hook(
        lambda norm, given: seen.append(given[0].clone())
    )
    norm = model.backbone.layers[0][1]
    norm.running_mean.fill_(7), norm.running_var.fill_(7)
    tracked, before = norm.num_batches_tracked.clone(), torch.get_rng_state()
    runner.train_loop._epoch = 1
    hook_of(runner).after_train_epoch(runner)
    handle.remove()
    assert [len(part) for part in seen] == [4, 4, 4]  # training's batches of 4
    mean = torch.stack([part.mean((0, 2, 3)) for part in seen]).mean(0)
    var = torch.stack([part.var((0, 2, 3)) for part in seen]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)
    assert norm.momentum == 0.1
    assert torch.equal(norm.num_batches_tracked, tracked)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.backbone.training
    assert norm.training


@pytest.mark.parametrize("case", ["norms that keep theirs", "a long run", "no norm"])
def test_averages_that_do_not_lag_are_let_be(tmp_path, case):
    runner = build(tmp_path, {})
    runner.train()
    hook = hook_of(runner)
    model = runner.model.train()
    if case == "a long run":
        runner.train_loop._iter = 100  # of averages that take a tenth
    if case == "no norm":
        model.backbone = nn.Identity()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.fill_(7)
        norm.train(case != "norms that keep theirs")
    hook.after_train_epoch(runner)
    assert all(bool((norm.running_mean == 7).all()) for norm in norms)
    if case == "a long run":
        runner.train_loop._iter = 99
        hook.after_train_epoch(runner)
        assert not any(bool((n.running_mean == 7).all()) for n in norms_that_follow(model.backbone))


def test_a_student_s_one_view_of_an_image_does_too(tmp_path):
    runner = build(tmp_path, {}, train_dataloader=tiny_runner.loader(views=False, drop_last=True))
    model = runner.model.train()
    model.data_preprocessor.forward = lambda batch, training: dict(inputs=batch["inputs"].float())
    hook_of(runner).after_train_epoch(runner)
    assert all(float(norm.running_mean.abs().max()) for norm in norms_that_follow(model.backbone))


def test_processes_take_other_images_each_and_as_many_batches(tmp_path, monkeypatch):
    runner = build(tmp_path, {"images": 13})
    taken = lambda loader, model, part, seed: [part]  # noqa: E731
    monkeypatch.setattr(fresh_averages_hook, "fixed_inputs", taken)
    found = []
    for rank in (0, 1, 2):
        monkeypatch.setattr(fresh_averages_hook, "get_dist_info", lambda rank=rank: (rank, 3))
        found.append(list(hook_of(runner)._views(runner)))
    assert [[len(part) for part in parts] for parts in found] == [[4], [4], [4]]
    assert len({image for parts in found for part in parts for image in part}) == 12


def test_a_pretraining_from_random_weights_has_it_and_one_from_good_weights_has_not():
    for pretrained in (False, True):
        hooks = []
        add_start_hooks(hooks, pretrained, 0, False, interval=3)
        found = [hook for hook in hooks if hook["type"] == "FreshAveragesHook"]
        assert found == ([] if pretrained else [dict(type="FreshAveragesHook", interval=3)])
