# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the tools that judge or use a backbone share: its config, its weights, an option."""

import xmoco_plugin  # noqa: F401  # isort: skip  (first: it says in plain words what the stack lacks)

import argparse
from typing import Any

import common
from mmengine.config import Config
from mmengine.device import get_device
from mmpretrain.registry import MODELS

from xmoco_plugin.checkpoint import (
    CheckpointError,
    compare_state,
    describe_difference,
    read_checkpoint,
    state_dict_of,
)
from xmoco_plugin.distributed import unwrapped
from xmoco_plugin.export import find_backbone
from xmoco_plugin.export.record import read_settings


def temperature(text: str) -> float | None:
    """A number, or None for "none": what --temperature takes."""
    return None if text.lower() == "none" else float(text)


def load_config(args: argparse.Namespace) -> Config:
    """The config that is named, or the one that mmengine has stored in the checkpoint.

    Raises:
        CheckpointError: it stores none, so that the model is not known.
    """
    if args.config:
        cfg = common.load_config(args.config)
    else:
        meta = read_checkpoint(args.checkpoint, mmap=True).get("meta")
        # Parsed, not executed: the file may be a stranger's.
        cfg = Config(read_settings((meta if isinstance(meta, dict) else {}).get("cfg") or ""))
        if not cfg.get("model"):
            raise CheckpointError(
                f"{args.checkpoint} does not say which model it belongs to: name its --config"
            )
    if args.cfg_options:
        common.warn_of_new_keys(cfg, args.cfg_options)
        cfg.merge_from_dict(args.cfg_options)
    return cfg


def build(cfg: Config, checkpoint: str) -> Any:
    """The config's model with the checkpoint's backbone, on the device.

    Raises:
        CheckpointError: as `load_backbone`.
    """
    model = MODELS.build({"data_preprocessor": cfg.get("data_preprocessor"), **cfg.model})
    load_backbone(model, checkpoint)
    return model.to(get_device())


def load_backbone(model: Any, path: str) -> None:
    """Loads what the model has of a checkpoint's weights; the whole backbone must be there.

    Checkpoints of other layouts, such as FAIR's MoCo, give their backbone only.

    Raises:
        CheckpointError: it cannot be read, holds no backbone, or another one.
    """
    model = unwrapped(model)
    checkpoint = read_checkpoint(path)
    ours, theirs = model.state_dict(), state_dict_of(checkpoint)
    if not any(key.startswith("backbone.") for key in theirs):
        theirs = {f"backbone.{k}": v for k, v in find_backbone(checkpoint).state.items()}
    difference = compare_state(_backbone(ours), _backbone(theirs))
    if difference.missing or difference.mismatched:
        raise CheckpointError(
            f"{path} does not hold the backbone of this config:\n{describe_difference(difference)}"
        )
    fitting = {k: v for k, v in theirs.items() if k in ours and v.shape == ours[k].shape}
    model.load_state_dict(fitting, strict=False)


def _backbone(state: dict) -> dict:
    return {key: value for key, value in state.items() if key.startswith("backbone.")}
