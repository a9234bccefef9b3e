# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where exported weights are from, and what their file cannot say: a record of plain values."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..checkpoint import sha256_of
from ..untrusted import read_settings
from ..version import __version__

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
        Assignments of ``model`` and ``data_preprocessor``, without ``init_cfg``: it would name a
        file of another machine, and the exported weights take its place. Empty without a model.
    """
    if not isinstance(settings.get("model"), dict):
        return ""
    parts = ("model", "data_preprocessor")
    return "".join(f"{k} = {_without_init(settings[k])!r}\n" for k in parts if settings.get(k))


def backbone_settings(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The config of the backbone that a checkpoint was trained with; empty where it has none."""
    found: Any = read_settings(_meta(checkpoint).get("cfg") or "")
    for name in ("model", "backbone"):
        found = found.get(name) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


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
        family: 'resnet' or 'vit'.

    Returns:
        One text for each such setting; none where it computes the same.
    """
    usual = {"strides": [1, 2, 2, 2], "dilations": [1, 1, 1, 1]} if family == "resnet" else {}
    found = [
        f"{name}={settings[name]} (others: {value})"
        for name, value in usual.items()
        if settings.get(name) not in (None, value)
    ]
    if family == "resnet" and settings.get("style") == "caffe" and settings.get("depth", 0) >= 50:
        found.append("style='caffe', which has its stride in the 1x1 convolution (others: the 3x3)")
    norm = settings.get("norm_cfg")
    eps = {"resnet": 1e-5, "vit": 1e-6}.get(family)
    if isinstance(norm, dict) and norm.get("eps", eps) != eps:
        found.append(f"norm_cfg.eps={norm['eps']!r} (others: {eps!r})")
    return found


def make_record(checkpoint: Mapping[str, Any], path: str | Path, **facts: Any) -> dict[str, Any]:
    """The record that goes into an exported file.

    Args:
        checkpoint: As read.
        path: Its file; name and SHA-256 are recorded, the folder is not.
        **facts: Further plain values; ``source_sha256`` where it is known already.

    Returns:
        Texts, numbers, lists and dicts of them.
    """
    meta = _meta(checkpoint)
    settings: Any = read_settings(meta.get("cfg") or "")
    loader = settings.get("train_dataloader")
    dataset = loader.get("dataset") if isinstance(loader, dict) else None
    record = {
        "exported_by": f"xmoco_plugin {__version__}",
        "source": Path(path).name,
        "source_sha256": facts.get("source_sha256") or sha256_of(path),
        # mmengine adds the time of the start to the config's name.
        "config": re.sub(r"_\d{8}_\d{6}$", "", str(meta.get("experiment_name") or "")),
        "cfg": model_text(settings),  # under mmengine's name, where the tools look for a model
        "epoch": meta.get("epoch", checkpoint.get("epoch")),
        "iter": meta.get("iter"),
        "dataset": dataset.get("type") if isinstance(dataset, dict) else None,
        "dataset_meta": meta.get("dataset_meta"),
        "arch": checkpoint.get("arch"),
        **facts,
    }
    return {key: _plain(value) for key, value in record.items() if value not in (None, "", {})}


def as_text(record: Mapping[str, Any]) -> dict[str, str]:
    """The record as safetensors stores it: texts only, everything else as JSON."""
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in record.items()}


def _meta(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    meta = checkpoint.get("meta")
    return meta if isinstance(meta, dict) else {}


def _without_init(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _without_init(item) for k, item in value.items() if k != "init_cfg"}
    return [_without_init(item) for item in value] if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [_plain(item) for item in value]
    return value if isinstance(value, (str, bool, int, float, type(None))) else str(value)
