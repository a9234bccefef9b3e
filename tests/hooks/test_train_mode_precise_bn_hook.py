# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Precise BN: the statistics become the mean over training batches, seen in mode 'loss'."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseModel
from torch import nn

from xmoco_plugin.hooks import TrainModePreciseBNHook
from xmoco_plugin.momentum import SplitBN

BATCHES = 6


class Net(BaseModel):
    """One norm that learns and one that is frozen; remembers in which mode it was called."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.frozen = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        self.modes = []

    def forward(self, inputs, data_samples=None, mode="tensor"):
        self.modes.append(mode)
        return dict(loss=self.frozen(self.norm(inputs)).sum())


@pytest.fixture
def runner():
    torch.manual_seed(0)
    model = Net().train()
    model.frozen.eval()
    data = [dict(inputs=3 * torch.randn(4, 3, 5, 5) + i) for i in range(BATCHES)]

    class Loader(list):
        batch_size = 4

    return SimpleNamespace(
        model=model,
        train_loop=SimpleNamespace(dataloader=Loader(data)),
        logger=MMLogger.get_instance("precise-bn"),
    )


def test_statistics_are_the_mean_over_batches_and_only_of_layers_that_train(runner):
    model = runner.model
    model.norm.momentum = 0.3
    model.norm.num_batches_tracked.fill_(17)
    weights = {k: v.clone() for k, v in model.named_parameters()}
    TrainModePreciseBNHook(num_samples=4 * BATCHES)._perform_precise_bn(runner)
    inputs = [batch["inputs"] for batch in runner.train_loop.dataloader]
    mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    var = torch.stack([x.var((0, 2, 3)) for x in inputs]).mean(0)
    torch.testing.assert_close(model.norm.running_mean, mean)
    torch.testing.assert_close(model.norm.running_var, var)
    assert model.norm.momentum == 0.3
    assert model.norm.num_batches_tracked == 17
    assert torch.equal(model.frozen.running_mean, torch.zeros(3))
    assert model.modes == ["loss"] * BATCHES
    assert all(torch.equal(v, weights[k]) for k, v in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


def test_norms_of_parts_of_a_batch_are_measured_too(runner):
    runner.model.norm = SplitBN(3, num_splits=2)
    TrainModePreciseBNHook(num_samples=4 * BATCHES)._perform_precise_bn(runner)
    inputs = [batch["inputs"] for batch in runner.train_loop.dataloader]
    mean = torch.stack([x.mean((0, 2, 3)) for x in inputs]).mean(0)
    torch.testing.assert_close(runner.model.norm.running_mean, mean)


def test_it_reads_only_as_many_batches_as_the_samples_need(runner):
    TrainModePreciseBNHook(num_samples=8)._perform_precise_bn(runner)
    assert len(runner.model.modes) == 2
