# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Checkpoints of real, untrained detectors and segmentors of the hosts, as mmengine writes them."""

import importlib
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from torch import nn

from xmoco_plugin.downstream import from_scratch

from .drawn import CLASSES
from .small import DETECTOR, ROOT, SEGMENTOR

CONFIGS = {"mmdet": DETECTOR, "mmseg": SEGMENTOR}
# As RTMDet's: what the network gets stays in the order in which the host reads it.
BGR = dict(mean=[103.53, 116.28, 123.675], std=[57.375, 57.12, 58.395], bgr_to_rgb=False)


def config(scope: str, **preprocessor: Any) -> Config:
    """The small tier's, with the drawn classes."""
    cfg = Config.fromfile(ROOT / CONFIGS[scope])
    from_scratch(cfg)
    if scope == "mmdet":
        cfg.model.roi_head.bbox_head.num_classes = len(CLASSES)
    for name in ("decode_head", "auxiliary_head") if scope == "mmseg" else ():
        cfg.model[name].num_classes = len(CLASSES) + 1
    cfg.model.data_preprocessor.update(preprocessor)
    return cfg


def build(cfg: Config) -> nn.Module:
    """The config's model, of its scope."""
    importlib.import_module(f"{cfg.default_scope}.models")
    registry = importlib.import_module(f"{cfg.default_scope}.registry").MODELS
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return registry.build(cfg.model)


def save(cfg: Config, path: Path) -> dict[str, Any]:
    """Writes what a training with an average leaves; returns it."""
    torch.manual_seed(7)
    state = build(cfg).state_dict()
    meta = dict(
        cfg=cfg.pretty_text, epoch=12, dataset_meta=dict(classes=CLASSES, palette=[(1, 2, 3)] * 3)
    )
    content = dict(
        meta=meta,
        state_dict=state,
        ema_state_dict={f"module.{k}": v for k, v in state.items()} | {"steps": torch.tensor(3)},
        optimizer=dict(state={}, param_groups=[dict(lr=0.1, params=[0])]),
        param_schedulers=[dict(last_step=3)],
        message_hub=dict(log_scalars={}),
    )
    torch.save(content, path)
    return content
