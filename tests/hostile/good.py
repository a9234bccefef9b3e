# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What hostile files stand beside: small images, weights with their config, a pack."""

import functools
import io
import tempfile
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image

import xmoco_plugin  # noqa: F401  (registers XMoCo)
from xmoco_plugin.data import PackOptions, write_pack

BACKBONE = "dict(type='ResNet', depth=18, base_channels=4, stem_channels=4)"


def model_text(loss: str = "dict(type='CrossEntropyLoss', loss_weight=1.0)") -> str:
    """A config as mmengine stores it."""
    return (
        "data_preprocessor = dict(type='SelfSupDataPreprocessor', mean=(0, 0, 0), std=(1, 1, 1))\n"
        f"model = dict(type='MoCo', queue_len=16, feat_dim=8, momentum=0.01, backbone={BACKBONE}, "
        "neck=dict(type='MoCoV2Neck', in_channels=32, hid_channels=8, out_channels=8), "
        f"head=dict(type='ContrastiveHead', temperature=0.2, loss={loss}))\n"
    )


@functools.cache
def whole_config(file: Path) -> str:
    """A config with what it inherits, for which the host reads a hundred lists of its models."""
    cfg = Config.fromfile(file)
    return Config(cfg.to_dict(), format_python_code=False).pretty_text


@functools.cache
def _state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    backbone = MODELS.build(
        dict(type="mmpretrain.ResNet", depth=18, base_channels=4, stem_channels=4)
    )
    state = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
    # Of the rest of a model: `xmoco test` refuses a backbone alone before it does anything else.
    return state | {"neck.mlp.0.bias": torch.zeros(8)}


def weights() -> dict[str, torch.Tensor]:
    """Of a ResNet-18 with a sixteenth of the channels, and of the neck behind it."""
    return dict(_state())


def checkpoint(path: Path) -> Path:
    """Writes good weights with their config."""
    torch.save({"state_dict": weights(), "meta": {"cfg": model_text()}}, path)
    return path


@functools.cache
def _pictures() -> list[bytes]:
    found = []
    for number in range(16):
        rng = np.random.default_rng(number)
        colour = np.array([[200, 60, 40], [40, 90, 200]])[number % 2]
        pixels = np.clip(colour + rng.normal(0, 30, (40, 48, 3)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        found.append(file.getvalue())
    return found


def pictures(count: int) -> list[bytes]:
    """PNG files of two colours by turns, at most 16."""
    return _pictures()[:count]


def folder(path: Path, count: int = 16, classes: bool = True) -> Path:
    """Pictures below ``path``, a folder for each of the two colours."""
    for number, picture in enumerate(pictures(count)):
        place = path / "ab"[number % 2] if classes else path
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:02d}.png").write_bytes(picture)
    return path


def labelled(path: Path) -> Path:
    """A labelled set: train/ and val/."""
    folder(path / "train")
    folder(path / "val", 8)
    return path


@functools.cache
def pack() -> Path:
    """A pack, made once."""
    place = Path(tempfile.mkdtemp())
    write_pack(
        folder(place / "images"), place / "pack", PackOptions("encoded", None, 95), lambda *_: None
    )
    return place / "pack"
