# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The switches of the fast config, one by one and together: the losses of the plain step."""

import copy
import os
import shutil
from contextlib import nullcontext

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from tests.algorithms.test_xmoco import assert_same, learned, train
from tests.models import build
from xmoco_plugin import config_path

STEPS = 3
COMPILER = next((c for c in (os.environ.get("CXX"), "g++", "clang++") if c and shutil.which(c)), "")
pytestmark = pytest.mark.usefixtures("nothing_compiled_before")
needs_compiler = pytest.mark.skipif(not COMPILER, reason="torch.compile needs a C++ compiler")


def losses(model_options: dict, bf16: bool = False, fused: bool = False) -> torch.Tensor:
    """(STEPS, 3) terms of a few steps of a ResNet-18 of an eighth of the width, in float32."""
    cfg = Config.fromfile(config_path("xmoco_r50_8xb32.py")).model
    cfg.pop("data_preprocessor", None)
    cfg.update(queue_len=256)
    cfg.backbone.update(depth=18, base_channels=8, stem_channels=8)
    cfg.neck.update(in_channels=64, hid_channels=64)
    cfg.update(model_options)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        model = MODELS.build(cfg).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, fused=fused)
    found = []
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(16, 3, 64, 64, generator=generator)
        noise = torch.randn(2, *images.shape, generator=generator)
        torch.manual_seed(step)  # the shuffle's
        with torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext():
            terms = model.loss([images + 0.5 * n for n in noise], None)
        optimizer.zero_grad()
        sum(terms.values()).backward()
        optimizer.step()
        found.append(torch.stack([terms[name].detach() for name in sorted(terms)]))
    return torch.stack(found)


@pytest.fixture(scope="module")
def plain() -> torch.Tensor:
    return losses({})


@pytest.mark.parametrize(
    ("options", "bf16", "fused", "tolerance"),
    [
        pytest.param(dict(channels_last=True), False, False, 1e-5, id="channels_last"),
        pytest.param({}, False, True, 1e-5, id="fused SGD"),
        pytest.param({}, True, False, 0.02, id="bf16"),
        pytest.param(dict(channels_last=True), True, True, 0.02, id="all"),
    ],
)
def test_a_switch_leaves_the_losses(plain, options, bf16, fused, tolerance):
    difference = (losses(options, bf16, fused) - plain).abs()
    # Every term, as a part of the total of its step: those of an untrained network are near 0.
    assert bool((difference <= tolerance * plain.sum(dim=1, keepdim=True)).all()), difference
    assert bf16 == bool(difference.max() > 1e-4)  # what changes the precision shows


def test_the_tolerance_is_smaller_than_what_a_step_changes(plain):
    totals = plain.sum(dim=1)
    assert bool(((totals[1:] - totals[:-1]).abs() > 0.1 * totals[1:]).all())


@needs_compiler
@pytest.mark.slow
def test_the_default_compiler_leaves_losses_and_weights():
    plain, compiled = build(), build(compile_encoders=True)
    start = copy.deepcopy(learned(compiled))
    assert train(compiled, 5) == pytest.approx(train(plain, 5), abs=1e-9)
    assert_same(learned(plain), learned(compiled))
    assert any(not torch.equal(v, start[n]) for n, v in learned(compiled).items())
