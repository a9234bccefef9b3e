# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import copy

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from torch import nn

from xmoco_plugin.momentum import MomentumEncoder


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).double()


def step(model, optimizer, seed):
    torch.manual_seed(seed)
    optimizer.zero_grad()
    model(torch.randn(6, 3, dtype=torch.float64)).square().sum().backward()
    optimizer.step()


def test_parameters_follow_as_mmengines_average_does():
    model = network()
    ours, host = MomentumEncoder(model, 0.3), ExponentialMovingAverage(model, 0.3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for i in range(5):
        ours.update_parameters(model)
        host.update_parameters(model)
        step(model, optimizer, i)
    for a, b in zip(ours.module.parameters(), host.module.parameters(), strict=True):
        assert torch.equal(a, b)
    assert ours.state_dict().keys() == host.state_dict().keys()
    assert ours.steps == host.steps == 5


def test_a_second_call_without_an_optimizer_step_changes_nothing():
    model = network()
    encoder = MomentumEncoder(model, 0.3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    encoder.update_parameters(model)
    step(model, optimizer, 0)
    encoder.update_parameters(model)
    before = copy.deepcopy(encoder.state_dict())
    encoder.update_parameters(model)
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())


def test_steps_of_another_models_optimizer_do_not_count():
    model, other = network(), network()
    encoder = MomentumEncoder(model, 0.3)
    encoder.update_parameters(model)
    step(other, torch.optim.SGD(other.parameters(), lr=0.1), 0)
    encoder.update_parameters(model)
    assert encoder.steps == 1


@pytest.mark.parametrize(
    "options", [dict(foreach=True), dict(foreach=False), dict(fused=True)], ids=str
)
def test_every_implementation_of_an_optimizer_is_noticed(options):
    model = network()
    encoder = MomentumEncoder(model, 0.3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, **options)
    for i in range(3):
        encoder.update_parameters(model)
        step(model, optimizer, i)
    assert encoder.steps == 3


def test_a_step_that_the_gradient_scaler_skips_does_not_count():
    model = network().float()
    encoder = MomentumEncoder(model, 0.3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    encoder.update_parameters(model)
    scaler.scale(model(torch.full((6, 3), torch.inf)).sum()).backward()
    scaler.step(optimizer)
    scaler.update()
    encoder.update_parameters(model)
    assert encoder.steps == 1


def test_key_encoder_keeps_its_own_batchnorm_statistics():
    model = network()
    encoder = MomentumEncoder(model, 0.3)
    own = copy.deepcopy(model[1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # parameters rest: only statistics move
    for i in range(4):
        encoder.update_parameters(model)
        step(model, optimizer, i)
        keys = torch.full((6, 3), float(i), dtype=torch.float64)
        keys[0] += 1
        encoder(keys)
        own(model[0](keys))
    assert torch.allclose(encoder.module[1].running_mean, own.running_mean, atol=1e-12)
    assert torch.allclose(encoder.module[1].running_var, own.running_var, atol=1e-12)
    assert not torch.allclose(encoder.module[1].running_mean, model[1].running_mean, atol=0.1)


def test_after_loading_the_pending_step_is_taken():
    model = network()
    encoder = MomentumEncoder(model, 0.3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for i in range(2):
        encoder.update_parameters(model)
        step(model, optimizer, i)
    saved = copy.deepcopy(encoder.state_dict())

    resumed = MomentumEncoder(network(), 0.3)
    resumed.load_state_dict(saved)
    resumed.update_parameters(model)
    encoder.update_parameters(model)
    assert resumed.steps == encoder.steps == 3
    for a, b in zip(resumed.module.parameters(), encoder.module.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_copy_of_a_trained_model_goes_on_following():
    model = network()
    both = nn.ModuleList([model, MomentumEncoder(model, 0.3)])
    both[1].update_parameters(model)
    model, encoder = copy.deepcopy(both)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for i in range(3):
        step(model, optimizer, i)
        before = encoder.module[0].weight.clone()
        encoder.update_parameters(model)
        assert not torch.equal(encoder.module[0].weight, before)


def test_first_update_copies_weights_that_were_initialized_later():
    model = network()
    encoder = MomentumEncoder(model, 0.3)
    with torch.no_grad():
        model[0].weight.fill_(5.0)
        model[1].running_mean.fill_(7.0)
    encoder.update_parameters(model)
    assert (encoder.module[0].weight == 5).all()
    assert (encoder.module[1].running_mean == 7).all()
