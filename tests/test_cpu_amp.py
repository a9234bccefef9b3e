# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Mixed precision on a CPU: what is computed in bfloat16, and what stays float32."""

import pytest
import torch
from mmengine.registry import OPTIM_WRAPPERS
from mmpretrain.registry import MODELS

from tests import models


def test_a_step_multiplies_in_bfloat16_and_keeps_weights_gradients_and_losses_in_float32():
    torch.manual_seed(0)
    model = MODELS.build(models.config("XMoCo")).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapper = OPTIM_WRAPPERS.build(dict(type="CpuAmpOptimWrapper", optimizer=optimizer))
    seen = []
    convolution = next(m for m in model.backbone.modules() if isinstance(m, torch.nn.Conv2d))
    convolution.register_forward_hook(lambda module, args, out: seen.append(out.dtype))
    views = [torch.randn(4, 3, 32, 32) for _ in range(2)]
    before = convolution.weight.detach().clone()
    with wrapper.optim_context(model):
        losses = model.loss(views)
    assert seen[0] == torch.bfloat16
    assert {value.dtype for value in losses.values()} == {torch.float32}
    wrapper.backward(sum(losses.values()))
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {torch.float32}
    wrapper.step()
    assert convolution.weight.dtype == torch.float32
    assert not torch.equal(convolution.weight, before)
    assert not torch.is_autocast_enabled("cpu")


def test_the_loss_is_that_of_float32_up_to_what_bfloat16_rounds():
    losses = []
    for kind in ("OptimWrapper", "CpuAmpOptimWrapper"):
        torch.manual_seed(0)
        model = MODELS.build(models.config("XMoCo")).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        wrapper = OPTIM_WRAPPERS.build(dict(type=kind, optimizer=optimizer))
        with wrapper.optim_context(model):
            losses.append(float(sum(model.loss([torch.randn(4, 3, 32, 32)] * 2).values())))
    assert losses[1] != losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)
