# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where exported weights are from, and what their file cannot say: a record of plain values."""

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmpretrain.registry import MODELS

from ..checkpoint import CheckpointError, sha256_of
from ..untrusted import (
    FileRefusedError,
    SettingsRefusedError,
    check_model_settings,
    printable,
    read_settings,
    read_text,
)
from ..version import __version__
from ..views import training_size

# Side of views, px, that settings may ask for by themselves: the largest that is pretrained on.
LARGEST_SIZE = 4096
# Settings of a backbone that change nothing of what it computes at test time.
HARMLESS = {
    *("type", "init_cfg", "drop_path_rate", "drop_rate", "frozen_stages", "norm_eval", "with_cp"),
    *("out_indices", "img_size", "zero_init_residual"),
    *("arch", "depth", "widen_factor", "norm_cfg"),  # which show in the weights
}

# The heads of a ViT leave no trace in its shapes, and these libraries differ in their number.
HEADS_OF_MMPRETRAIN = {
    **dict.fromkeys(("mocov3-s", "mocov3-small"), 12),
    **dict.fromkeys(("deit-t", "deit-tiny"), 3),
    **dict.fromkeys(("deit-s", "deit-small"), 6),
    **dict.fromkeys(("b", "base", "deit-b", "deit-base"), 12),
    **dict.fromkeys(("l", "large"), 16),
}
HEADS_OF_FAIR = {"vit_small": 12, "vit_base": 12, "vit_conv_small": 12, "vit_conv_base": 12}


def model_text(settings: Mapping[str, Any]) -> str:
    """The part of a config that builds the model, as text for :func:`read_settings`.

    Args:
        settings: As from :func:`read_settings`.

    Returns:
        Assignments of ``model`` and ``data_preprocessor``, as they come through the gate: without
        ``init_cfg``, which would name a file of another machine. Empty without a model.

    Raises:
        SettingsRefusedError: Nothing may be built from them.
    """
    if not isinstance(settings.get("model"), dict):
        return ""
    parts = {k: settings[k] for k in ("model", "data_preprocessor") if settings.get(k)}
    return "".join(f"{k} = {v!r}\n" for k, v in check_model_settings(parts).items())


def stored_settings(checkpoint: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], Path]:
    """The settings that come with a checkpoint, parsed and not yet through the gate.

    Args:
        checkpoint: As read.
        path: Its file.

    Returns:
        Those that are stored in it or, where an export has none, those of the ``config.py`` of its
        run beside it; and the file that they stand in.

    Raises:
        CheckpointError: The file beside it cannot be read.
    """
    meta, beside = meta_of(checkpoint), path.with_name("config.py")
    found = read_settings(meta.get("cfg"))
    if found.get("model") or "exported_by" not in meta or not beside.is_file():
        return found, path
    try:
        return read_settings(read_text(beside)), beside
    except FileRefusedError as error:
        raise CheckpointError(f"{printable(beside)}: {error}") from None


def backbone_settings(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the backbone that a checkpoint was trained with; empty where it has none."""
    found: Any = read_settings(meta_of(checkpoint).get("cfg"))
    for name in ("model", "backbone"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def checked_backbone(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """A backbone's config as it comes through the gate; None where there is none, or it may not."""
    if not settings.get("type"):
        return None
    try:
        return check_model_settings(dict(settings))
    except SettingsRefusedError:
        return None


def training_views(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a backbone has been trained on, for those who use it.

    Args:
        checkpoint: Of a training, or exported from one.

    Returns:
        ``image_size``, the side of its views in pixels, and ``mean``, ``std`` and ``channels`` of
        their values from 0 to 255; ``bit_depth`` of 16-bit grey where it was not 16; the side of
        ``tiles``, in pixels; of images of other channels ``in_channels`` and ``value_range``, what
        0 and 255 stand for. What is not known is not among them.
    """
    meta = meta_of(checkpoint)
    settings = read_settings(meta.get("cfg"))
    found: dict[str, Any] = {}
    size = training_size(settings)
    side = str(size[0] if size else meta.get("image_size"))
    if side.isdecimal() and 1 <= int(side) <= LARGEST_SIZE:
        found["image_size"] = int(side)
    model = settings.get("model")
    within = model.get("data_preprocessor") if isinstance(model, dict) else None
    preprocessor = within or settings.get("data_preprocessor")
    if isinstance(preprocessor, dict):
        for name in ("mean", "std"):
            values = preprocessor.get(name)
            if isinstance(values, (list, tuple)) and all(
                isinstance(v, (int, float)) for v in values
            ):
                found[name] = list(values)
        if preprocessor.get("to_rgb") or preprocessor.get("bgr_to_rgb"):
            found["channels"] = "RGB"
        elif "bgr_to_rgb" in preprocessor:
            found["channels"] = "BGR"
        values = preprocessor.get("value_range")
        if isinstance(values, (list, tuple)) and "mean" in found:
            found |= {"in_channels": len(found["mean"]), "value_range": list(values)}
    for name, key in (("bit_depth", "bit_depth"), ("tiles", "side")):
        value = _of_reader(settings.get("train_dataloader"), key) or meta.get(name)
        if type(value) is int:
            found[name] = value
    return found


def _of_reader(loader: Any, key: str) -> int | None:
    """A number of the reader in a training's pipeline, where it is set."""
    dataset = loader.get("dataset") if isinstance(loader, dict) else None
    steps = dataset.get("pipeline") if isinstance(dataset, dict) else None
    first = steps[0] if isinstance(steps, (list, tuple)) and steps else None
    value = first.get(key) if isinstance(first, dict) else None
    return value if type(value) is int else None


def heads_of(checkpoint: Mapping[str, Any]) -> int | None:
    """Number of attention heads of a ViT, where its checkpoint tells."""
    arch = backbone_settings(checkpoint).get("arch")
    if isinstance(arch, dict):
        return arch.get("num_heads")
    return HEADS_OF_MMPRETRAIN.get(str(arch)) or HEADS_OF_FAIR.get(str(checkpoint.get("arch")))


def unlike_others(settings: Mapping[str, Any], family: str) -> list[str]:
    """What makes a backbone compute something else in another library, with the same weights.

    Args:
        settings: As from :func:`backbone_settings`.
        family: 'resnet', 'vit', or an empty text for another.

    Returns:
        One text for each such setting; none where it computes the same.
    """
    if family not in ("resnet", "vit"):
        return _not_default(settings)
    usual = {"strides": (1, 2, 2, 2), "dilations": (1, 1, 1, 1)} if family == "resnet" else {}
    found = [
        f"{name}={settings[name]} (others: {value})"
        for name, value in usual.items()
        if not _begins(value, settings.get(name))  # a detector may have fewer stages
    ]
    bottlenecks = family == "resnet" and settings.get("depth") not in (18, 34)
    if bottlenecks and settings.get("style") == "caffe":
        found.append("style='caffe', which has its stride in the 1x1 convolution (others: the 3x3)")
    norm = settings.get("norm_cfg")
    eps = {"resnet": 1e-5, "vit": 1e-6}.get(family)
    if isinstance(norm, dict) and norm.get("eps", eps) != eps:
        found.append(f"norm_cfg.eps={norm['eps']!r} (others: {eps!r})")
    return found


def _begins(usual: tuple, given: Any) -> bool:
    if isinstance(given, (list, tuple)) and given:
        return tuple(given) == usual[: len(given)]
    return given is None


def _not_default(settings: Mapping[str, Any]) -> list[str]:
    kind = MODELS.get(str(settings.get("type")))
    if kind is None:
        return []
    defaults = inspect.signature(kind).parameters
    return [
        f"{name}={value!r} (others: {defaults[name].default!r})"
        for name, value in settings.items()
        if name not in HARMLESS and name in defaults and value != defaults[name].default
    ]


def make_record(checkpoint: Mapping[str, Any], path: str | Path, **facts: Any) -> dict[str, Any]:
    """The record that goes into an exported file.

    Args:
        checkpoint: As read.
        path: Its file; name and SHA-256 are recorded, the folder is not.
        **facts: Further plain values; ``source_sha256`` where it is known already.

    Returns:
        Texts, numbers, lists and dicts of them.
    """
    meta = meta_of(checkpoint)
    settings: Any = read_settings(meta.get("cfg"))
    try:
        model, left_out = model_text(settings), None
    except SettingsRefusedError as error:
        model, left_out = None, str(error)  # the weights are none the worse
    loader = settings.get("train_dataloader")
    dataset = loader.get("dataset") if isinstance(loader, dict) else None
    record = {
        "exported_by": f"xmoco_plugin {__version__}",
        "source": Path(path).name,
        "source_sha256": facts.get("source_sha256") or sha256_of(path),
        # mmengine adds the time of the start to the config's name.
        "config": re.sub(r"_\d{8}_\d{6}$", "", str(meta.get("experiment_name") or "")),
        "cfg": model,  # under mmengine's name, where the tools look for a model
        "cfg_left_out": left_out,
        "epoch": meta.get("epoch", checkpoint.get("epoch")),
        "iter": meta.get("iter"),
        "dataset": dataset.get("type") if isinstance(dataset, dict) else None,
        "dataset_meta": meta.get("dataset_meta"),
        **training_views(checkpoint),
        "arch": checkpoint.get("arch"),
        **facts,
    }
    return {key: _plain(value) for key, value in record.items() if value not in (None, "", {})}


def as_text(record: Mapping[str, Any]) -> dict[str, str]:
    """The record as safetensors stores it: texts only, everything else as JSON."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in record.items()}


def meta_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    meta = checkpoint.get("meta")
    return meta if isinstance(meta, dict) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, bool, int, float, type(None))) else str(value)
