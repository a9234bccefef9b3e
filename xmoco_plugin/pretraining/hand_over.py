# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a finished run hands on: configs for fine-tuning, and the lines that load its weights."""

import contextlib
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..checkpoint import CheckpointError, write_text
from ..data import channel_reading
from ..export import find_backbone, name_in, prepare_file, read_weights
from ..export.targets import architecture
from ..untrusted import check_model_settings, printable
from .back_again import way_back, with_inputs
from .ready import ready_configs
from .run_folder import run_settings
from .start import handed_over

CHANNELS = {18: [64, 128, 256, 512], 34: [64, 128, 256, 512]}
WIDE = [256, 512, 1024, 2048]
DETECTOR = """# Faster R-CNN on the backbone of this run, for a folder in COCO format.
# xmoco transfer {weights_line} det {file_line} --data-root FOLDER
_base_ = "xmoco_plugin::detection/faster-rcnn_r18-fpn_small.py"
custom_imports = dict(imports=["xmoco_plugin"], allow_failed_imports=False)

pretrained = {weights}
model = dict(backbone=dict(depth={depth}), neck=dict(in_channels={channels}))
"""
SEGMENTOR = """# FCN on the backbone of this run, for a folder in mmseg's layout.
# xmoco transfer {weights_line} seg {file_line} --data-root FOLDER
_base_ = "xmoco_plugin::segmentation/fcn_r18_small.py"
custom_imports = dict(imports=["xmoco_plugin"], allow_failed_imports=False)

pretrained = {weights}
model = dict(
    backbone=dict(depth={depth}),
    decode_head=dict(in_channels={last}),
    auxiliary_head=dict(in_channels={third}),
)
"""
READY_CONFIG = """# A {what} on the backbone of this run, for a folder in {layout}.
# xmoco transfer {weights_line} {task} {file_line} --data-root FOLDER
_base_ = "xmoco_plugin::{config}"
custom_imports = dict(imports=["xmoco_plugin"], allow_failed_imports=False)

pretrained = {weights}
"""
READY_STEPS = """
## {host}

`finetune_{host}.py` inherits configs/{config}, which is made for this backbone, and stops unless
every weight arrives:

```bash
{python} -m xmoco transfer {pth_quoted} {task} {folder_quoted}/finetune_{host}.py \\
  --data-root FOLDER_IN_{layout}
```
"""
HOSTS = {
    "mmdet": dict(what="detector", layout="COCO format", task="det"),
    "mmseg": dict(what="segmentor", layout="mmseg's layout", task="seg"),
}
HELD = "backbone.pth holds the weights of the last checkpoint that was not held back"
STEPS = """# What to do with this run

{held}. Its record says the same (docs/judge_a_run.md).

## xmoco

```bash
{python} -m xmoco evaluate {pth_quoted} {labels}
{python} -m xmoco embed {pth_quoted} FOLDER_OF_IMAGES --out {folder_quoted}/features.npz{tiles}
{python} -m xmoco report {folder_quoted}
```

A table of protocols; features of any images; `report.html` anew, or of several runs side by side.
Detection and segmentation need mmdet or mmseg and mmcv's ops: `{python} -m xmoco doctor` says what
is missing, and what brings it.

## mmpretrain

```python
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
import xmoco_plugin

init_default_scope("mmpretrain")
backbone = MODELS.build(dict(
    {mmpretrain},
    init_cfg=dict(type="Pretrained", checkpoint={pth!r}, prefix="backbone."),
))
backbone.init_weights()
```
"""
OTHERS = """
## mmdet

`finetune_mmdet.py` inherits mmdet's Faster R-CNN and stops unless every weight arrives:

```bash
{python} -m xmoco transfer {pth_quoted} det {folder_quoted}/finetune_mmdet.py \\
  --data-root FOLDER_IN_COCO_FORMAT
```

In a config of your own:

```python
model = dict(
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint={pth!r}, prefix="backbone."))
)
```

## mmseg

```bash
{python} -m xmoco transfer {pth_quoted} seg {folder_quoted}/finetune_mmseg.py \\
  --data-root FOLDER_IN_MMSEG_LAYOUT
```

## torchvision

```python
import torch, torchvision

model = torchvision.models.resnet{depth}()
model.fc = torch.nn.Identity()
weights = torch.load({pth!r}, weights_only=True)["state_dict"]
model.load_state_dict({{key.removeprefix("backbone."): value for key, value in weights.items()}})
```
"""
TIMM = """
## timm

```python
import timm

model = timm.create_model({timm!r}, num_classes=0, checkpoint_path={safetensors!r})
```
"""
TIMM_VGG = """
## timm

```python
import timm, torch

model = timm.create_model({timm!r}, num_classes=0)
model.pre_logits = torch.nn.Identity()  # two layers of the classifier, which no pretraining has
timm.models.load_checkpoint(model, {safetensors!r})
```
"""
EXPORTS = """
## Other libraries

docs/export.md has the lines that read these files:

```bash
{lines}
```
"""
CHANNELS_NOTE = """
## mmdet, mmseg and others

No config for them is written: their loaders read 3 channels of 8 bits. In a config of your own the
backbone has `in_channels={channels}`. The network must see what it saw here, channel by channel in
the file's order: values from {value_range[0]:g} to {value_range[1]:g} as 0 to 255, without
rounding, minus the mean, divided by the deviation.

```python
backbone = dict(
    {mmpretrain},
    init_cfg=dict(type="Pretrained", checkpoint={pth!r}, prefix="backbone."),
)
mean = {fill}
std = {std}
```

The hosts' data preprocessors take 1 or 3 means: leave `mean` and `std` out of theirs, and normalize
in the transform that loads your files.
"""
NO_OTHERS = """
No other library that is known here has this backbone; docs/export.md lists those that have
counterparts, and docs/backbones.md the fine-tuning configs that there are.
"""


def hand_over(folder: Path) -> Path | None:
    """Write what leads on from a run's ``backbone.pth``.

    Args:
        folder: Of the run, with ``config.py``. The lines are for the Python that runs this.

    Returns:
        ``next_steps.md``; None where no epoch was exported.
    """
    weights = folder / "backbone.pth"
    if not weights.is_file():
        return None
    cfg = run_settings(folder).config
    # What is handed on has passed the gate, as what comes in.
    backbone = check_model_settings(cfg.model.backbone.to_dict(), folder / "config.py")
    depth = backbone.get("depth") if backbone["type"] == "ResNet" else None
    if depth and (backbone.get("norm_cfg") or {}).get("type") == "SplitBN":
        backbone.pop("norm_cfg")  # at test time it is BN
    backbone.pop("norm_eval", None)  # of this training; what follows chooses for itself
    config = shlex.quote(str(folder / "config.py"))
    texts = dict(
        held=handed_over(folder) or HELD,
        python=shlex.quote(sys.executable),
        # The config of a run with --labels names its labelled sets.
        labels=f"--config {config}" if cfg.get("val_cfg") else "--data LABELLED_FOLDER",
        tiles=_tiles_option(cfg),
        pth=str(weights),
        pth_quoted=shlex.quote(str(weights)),
        folder_quoted=shlex.quote(str(folder)),
        safetensors=str(folder / "backbone.safetensors"),
        depth=depth,
        mmpretrain=", ".join(f"{key}={value!r}" for key, value in backbone.items()),
    )
    text = STEPS.format(**texts)
    if reading := channel_reading(cfg):
        text += CHANNELS_NOTE.format(**texts, **reading._asdict(), std=cfg.data_preprocessor.std)
    elif depth and architecture(find_backbone(read_weights(weights)).state) == f"resnet{depth}":
        text += OTHERS.format(**texts)
        if (folder / "backbone.safetensors").is_file():
            text += TIMM.format(**texts, timm=f"resnet{depth}")
        channels = CHANNELS.get(depth, WIDE)
        values = dict(depth=depth, weights=_in_config(weights), weights_line=_in_comment(weights))
        values |= dict(channels=channels, last=channels[3], third=channels[2])
        for name, template in (("mmdet", DETECTOR), ("mmseg", SEGMENTOR)):
            _write_once(folder / f"finetune_{name}.py", template, values, cfg)
    else:
        for name, config in ready_configs(backbone).items():
            values = dict(weights=_in_config(weights), weights_line=_in_comment(weights))
            values |= dict(config=config, **HOSTS[name])
            _write_once(folder / f"finetune_{name}.py", READY_CONFIG, values, cfg)
            layout = HOSTS[name]["layout"].upper().replace("'S", "").replace(" ", "_")
            text += READY_STEPS.format(**{**texts, **values, "host": name, "layout": layout})
        text += _of_another_family(weights, texts)
    text += way_back(folder, texts)
    steps = folder / "next_steps.md"
    write_text(steps, text)
    return steps


def _tiles_option(cfg: Config) -> str:
    """What `xmoco embed` needs to see tiles as the training did; nothing for whole images."""
    data = (cfg.get("train_dataloader") or {}).get("dataset") or {}
    side = next(iter(data.get("pipeline") or [{}])).get("side")
    return f" --tiles {side}" if isinstance(side, int) else ""


def _write_once(file: Path, template: str, values: Mapping[str, Any], run: Config) -> None:
    """Writes a config that may have been edited since, where it is not there."""
    if not file.exists():
        text = template.format(**values, file_line=_in_comment(file))
        write_text(file, with_inputs(text, run))


def _of_another_family(weights: Path, texts: Mapping[str, Any]) -> str:
    """The lines for the libraries that have a backbone which is no usual ResNet: each is tried."""
    checkpoint, lines = read_weights(weights), []
    for target in ("timm", "torchvision", "mmseg"):
        with contextlib.suppress(CheckpointError):
            prepare_file(checkpoint, weights, target)
            out = shlex.quote(str(weights.with_name(f"backbone_{target}.pth")))
            lines.append(
                f"{texts['python']} -m xmoco export {texts['pth_quoted']} {out} --to {target}"
            )
    if not lines:
        return NO_OTHERS
    text = EXPORTS.format(lines="\n".join(lines))
    name = name_in(find_backbone(checkpoint).state, "timm")
    if name and Path(texts["safetensors"]).is_file():
        text += (TIMM_VGG if name.startswith("vgg") else TIMM).format(**texts, timm=name)
    return text


def _in_config(path: Path) -> str:
    """A path as Python's text, in which mmengine finds no ``{{`` to put something in place of."""
    text = repr(str(path))
    return text.replace("{{", f"{{{text[0]} {text[0]}{{")


def _in_comment(path: Path) -> str:
    """A path as a word for a shell, on one line and without mmengine's ``{{``."""
    word = shlex.quote(str(path)).replace("{{", "{''{")  # within shlex's quotation marks
    return word if word.isprintable() else printable(word)
