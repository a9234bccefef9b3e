# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The models whose step is timed, their optimizers, and a step of each."""

import argparse
import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mmpretrain
import torch
from measure import installed
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn
from torchvision.models import resnet

from xmoco_plugin import config_path

HOST = (
    Path(mmpretrain.__file__).parent
    / ".mim/configs/mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py"
)
SGD = dict(type="SGD", lr=0.03, momentum=0.9, weight_decay=1e-4)
PLAIN = dict(type="OptimWrapper", optimizer=SGD)
AMP = {**PLAIN, "type": "AmpOptimWrapper"}
Step = Callable[[list[torch.Tensor]], None]


class LightlyMoCo(nn.Module):
    """MoCo v2 as lightly's documentation assembles it from its modules."""

    def __init__(self, depth: int, queue_len: int) -> None:
        super().__init__()
        from lightly.loss import NTXentLoss
        from lightly.models.modules import MoCoProjectionHead

        encoder = getattr(resnet, f"resnet{depth}")()
        width, encoder.fc = encoder.fc.in_features, nn.Identity()
        self.query = nn.Sequential(encoder, MoCoProjectionHead(width, width, 128))
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.criterion = NTXentLoss(temperature=0.2, memory_bank_size=(queue_len, 128))

    def loss(self, inputs: list[torch.Tensor], data_samples: None) -> dict:
        """InfoNCE of two views; moves the key encoder."""
        from lightly.models.utils import batch_shuffle, batch_unshuffle, update_momentum

        update_momentum(self.query, self.key, m=0.999)
        with torch.no_grad():
            shuffled, order = batch_shuffle(inputs[1])
            keys = batch_unshuffle(self.key(shuffled), order)
        return dict(loss=self.criterion(self.query(inputs[0]), keys))


def model_of(cfg: Config, args: argparse.Namespace, **changes) -> ConfigDict:
    """Config of a model of the sizes that are measured."""
    model = cfg.model
    model.update(queue_len=args.queue, **changes)
    model.backbone.depth = args.depth
    if args.depth < 50:
        model.neck.update(in_channels=512, hid_channels=512)
    return model


def built(file: str | Path, args: argparse.Namespace, terms: bool = True, **changes) -> nn.Module:
    """The model of a config in the sizes that are measured."""
    cfg = Config.fromfile(file)
    if not terms:
        cfg.model.head.update(consistency=None, uniformity=None)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return MODELS.build(model_of(cfg, args, **changes))


def models(args: argparse.Namespace, cuda: bool) -> dict[str, tuple[Callable, dict]]:
    """How to build each, and its optimizer wrapper."""
    host, plain, fast = (
        partial(built, file, args)
        for file in (
            HOST,
            config_path("xmoco_r50_8xb32.py"),
            config_path("xmoco_r50_8xb32_fast.py"),
        )
    )
    fast_wrapper = Config.fromfile(config_path("xmoco_r50_8xb32_fast.py")).optim_wrapper
    choices: dict[str, tuple[Callable, dict]] = {"mmpretrain": (host, PLAIN)}
    if installed("lightly"):
        choices["lightly"] = (lambda: LightlyMoCo(args.depth, args.queue), PLAIN)
    choices["ours, no terms"] = (partial(plain, terms=False), PLAIN)
    choices["ours"] = (plain, PLAIN)
    choices["ours, channels_last"] = (partial(plain, channels_last=True), PLAIN)
    if cuda:
        choices["mmpretrain AMP"] = (host, AMP)
        choices["ours, fast, no terms"] = (partial(fast, terms=False), fast_wrapper)
        choices["ours, fast"] = (fast, fast_wrapper)
    return choices


def switches(args: argparse.Namespace, cuda: bool) -> dict[str, tuple[Callable, dict]]:
    """Ours with each switch of the fast step alone, then with all; what compiles comes last.

    Without a GPU the compiler is torch's capture alone, and bf16, which the host's wrapper has for
    accelerators only, is left out.
    """
    plain = partial(built, config_path("xmoco_r50_8xb32.py"), args)
    bf16 = dict(type="AmpOptimWrapper", dtype="bfloat16", loss_scale=dict(enabled=False))
    fused = {**PLAIN, "optimizer": {**SGD, "fused": True}}
    choices: dict[str, tuple[Callable, dict]] = {
        "ours + channels_last": (partial(plain, channels_last=True), PLAIN),
        "ours + fused SGD": (plain, fused),
    }
    if cuda:
        every = {**fused, **bf16}
        choices["ours + bf16"] = (plain, {**PLAIN, **bf16})
        choices["ours + all but compiling"] = (partial(plain, channels_last=True), every)
        choices["ours, all (fast)"] = models(args, cuda)["ours, fast"]
    choices["ours + compiling"] = (
        partial(plain, compile_encoders=True if cuda else dict(backend="eager")),
        PLAIN,
    )
    if cuda:
        graphs = dict(mode="reduce-overhead", dynamic=False)
        choices["ours, all, as CUDA graphs"] = (
            partial(plain, channels_last=True, compile_encoders=graphs),
            every,
        )
    return choices


def wrapper_of(model: nn.Module, wrapper_cfg: dict) -> OptimWrapper:
    """The optimizer wrapper of a model."""
    return build_optim_wrapper(model, ConfigDict(copy.deepcopy(wrapper_cfg)))


def step_of(model: nn.Module, wrapper: OptimWrapper) -> Step:
    """From views to updated weights, as the host's ``train_step`` has it."""

    def step(views: list[torch.Tensor]) -> None:
        with wrapper.optim_context(model):
            losses = model.loss(views, None)
        wrapper.update_params(sum(value for name, value in losses.items() if "loss" in name))

    return step
