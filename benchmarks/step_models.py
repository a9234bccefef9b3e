# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The models whose step is timed, their optimizers, and a step of each."""

import argparse
import copy
from collections.abc import Callable
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


def models(args: argparse.Namespace, cuda: bool) -> dict[str, tuple[Callable, dict]]:
    """How to build each, and its optimizer wrapper."""

    def built(file: str | Path, terms: bool = True, **changes) -> nn.Module:
        cfg = Config.fromfile(file)
        if not terms:
            cfg.model.head.update(consistency=None, uniformity=None)
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            return MODELS.build(model_of(cfg, args, **changes))

    def ours(terms: bool, **changes) -> nn.Module:
        return built(config_path("xmoco_r50_8xb32.py"), terms, **changes)

    def fast(terms: bool) -> nn.Module:
        return built(config_path("xmoco_r50_8xb32_fast.py"), terms)

    fast_wrapper = Config.fromfile(config_path("xmoco_r50_8xb32_fast.py")).optim_wrapper
    choices = {"mmpretrain": (lambda: built(HOST), PLAIN)}
    if installed("lightly"):
        choices["lightly"] = (lambda: LightlyMoCo(args.depth, args.queue), PLAIN)
    choices["ours, no terms"] = (lambda: ours(False), PLAIN)
    choices["ours"] = (lambda: ours(True), PLAIN)
    choices["ours, channels_last"] = (lambda: ours(True, channels_last=True), PLAIN)
    if cuda:
        choices["mmpretrain AMP"] = (lambda: built(HOST), AMP)
        choices["ours, fast, no terms"] = (lambda: fast(False), fast_wrapper)
        choices["ours, fast"] = (lambda: fast(True), fast_wrapper)
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
