# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The rows of docs/plug_in.md: each config's algorithm around a tiny encoder, with and without."""

import copy
from pathlib import Path
from typing import NamedTuple

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MessageHub
from mmengine.model import revert_sync_batchnorm
from mmpretrain.registry import MODELS
from torch import nn

import tests.models  # noqa: F401  (registers TinyEncoder)
from tests.shrunken import shrunken

CONFIGS = Path(__file__).parents[2] / "configs" / "plug_in"


class Row(NamedTuple):
    """What the table says of an algorithm."""

    passes: int  # calls of the head in a step
    factor: float  # of one pass's terms in the total, times passes
    key_gradient: bool
    queue: bool


ROWS = {
    "mocov3-r50": Row(2, 2, False, False),
    "simclr-r50": Row(1, 1, True, False),
    "byol-r50": Row(2, 4, False, False),
    "simsiam-r50": Row(2, 1, False, False),
    "barlowtwins-r50": Row(1, 1, True, False),
    "densecl-r50": Row(1, 1, False, True),
    "swav-r50": Row(1, 1, True, True),
}
QUEUE_TERMS = dict(
    consistency=dict(pairs="queue", target="momentum"), uniformity=dict(negatives="queue")
)


def plugged(name: str, **terms) -> ConfigDict:
    """The row's shrunken model with a tiny encoder; ``terms`` replace those of the config."""
    model = shrunken(Config.fromfile(CONFIGS / f"xmoco_{name}.py").model)
    model.backbone = dict(type="TinyEncoder", norm=True)
    model.neck.in_channels = 16
    if name == "swav-r50":
        model.head.head.loss.num_crops = [2]
    model.head.update(terms)
    return model


def host_of(model: ConfigDict) -> ConfigDict:
    """The same model as mmpretrain has it."""
    host = copy.deepcopy(model)
    host.type = host.type.removeprefix("Regularized")
    host.head = host.head.head
    return host


def build(model: ConfigDict, seed: int = 0) -> nn.Module:
    """In float64 and training mode, initialized from ``seed``."""
    MessageHub.get_current_instance().update_info("max_iters", 100)  # as a Runner does
    torch.manual_seed(seed)
    return revert_sync_batchnorm(MODELS.build(model)).double().train()


def logged(name: str, last: int) -> list[float]:
    """The last values of a scalar in the engine's log."""
    return MessageHub.get_current_instance().get_scalar(f"train/{name}").data[0][-last:].tolist()
