# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the tools that judge or use a backbone share: its config, its weights, an option."""

import argparse
import os
from pathlib import Path
from typing import Any

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
from xmoco_plugin.cli import common
from xmoco_plugin.distributed import unwrapped
from xmoco_plugin.export import find_backbone
from xmoco_plugin.untrusted import read_settings
from xmoco_plugin.views import training_size

USUAL_SIZE = 224  # px, of ImageNet's recipes


def temperature(text: str) -> float | None:
    """A number, or None for "none": what --temperature takes."""
    return None if text.lower() == "none" else float(text)


def add_image_size(parser: argparse.ArgumentParser) -> None:
    """Adds the option that :func:`image_size` reads."""
    parser.add_argument(
        "--image-size",
        type=positive,
        metavar="PIXELS",
        help="side of the centre crop of files; default: that of the training views where the "
        f"config names it, else {USUAL_SIZE}",
    )


def image_size(args: argparse.Namespace, cfg: Config) -> tuple[int, str]:
    """Side of the crops that the backbone is judged on, in pixels, and why it is that."""
    if args.image_size is not None:
        return args.image_size, "--image-size"
    found = training_size(cfg)
    if found is None:
        return USUAL_SIZE, "the usual one: the config names no size of training views"
    return found[0], f"that of the training views ({found[1]} in the config)"


def add_loading(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the loader."""
    parser.add_argument(
        "--batch-size", type=positive, default=256, help="images at once; default: %(default)s"
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=min(8, os.cpu_count() or 1),
        help="loader processes; default: %(default)s, one a core and 8 at most",
    )


def positive(text: str) -> int:
    """An integer from 1."""
    if int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is smaller than 1")
    return int(text)


def load_config(args: argparse.Namespace) -> Config:
    """The config that is named, or the one that mmengine or an export has stored in the checkpoint.

    Weights that were exported without it take the model of the config.py of their run beside them.

    Raises:
        CheckpointError: there is none, so that the model is not known.
    """
    if args.config:
        cfg = common.load_config(args.config)
    else:
        meta = read_checkpoint(args.checkpoint, mmap=True).get("meta")
        meta = meta if isinstance(meta, dict) else {}
        beside = Path(args.checkpoint).expanduser().with_name("config.py")
        # Parsed, not executed: the files may be a stranger's.
        settings = read_settings(meta.get("cfg") or "")
        if not settings.get("model") and "exported_by" in meta and beside.is_file():
            settings = read_settings(beside.read_text())
        # A model that inherits is not whole without what it inherits from.
        if not settings.get("model") or "_base_" in settings:
            hint = f", perhaps {beside}, which lies beside it" if beside.is_file() else ""
            raise CheckpointError(
                f"{args.checkpoint} does not say which model it belongs to: name its --config{hint}"
            )
        cfg = Config(settings)
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
