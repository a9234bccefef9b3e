# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where a backbone may stand in a file: its layouts, and what wrappers put before its keys."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch

from ..checkpoint import CheckpointError
from ..untrusted import printable
from .architectures import marks
from .names import VIT_MARKS, family

# Layout: prefixes of the query's backbone, prefixes of the key's; without what wrappers add.
LAYOUTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "mmpretrain": (("backbone.",), ("encoder_k.0.", "momentum_encoder.0.", "target_net.0.")),
    "moco": (("encoder_q.",), ("encoder_k.",)),
    "moco-v3": (("base_encoder.",), ("momentum_encoder.",)),
    "dino": (("student.backbone.", "student."), ("teacher.backbone.", "teacher.")),
    "bare": (("",), ()),
}
# Parts of a key that torch.compile, DDP, FSDP, EMA and gradient checkpointing add.
WRAPPERS = {
    *("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"),
    *("_forward_module", "ema_model"),
}
# Words of a prefix whose encoder follows another by a moving average.
FOLLOWS = re.compile(r"(^|[._])(k|key|ema|teacher|target|momentum|averaged?)([._]|$)|encoder_?k\b")
RESNET_MARK, SEQUENTIAL_MARK = "layer1.0.conv1.weight", "4.0.conv1.weight"
DETECTRON2_MARK = "res2.0.conv1.weight"


DEEPEST = 6  # dicts in dicts that are looked through for weights


class Weights(NamedTuple):
    """The tensors of a file.

    Attributes:
        state: By key, without wrappers' parts.
        keys: Of the file, by those of ``state``.
    """

    state: dict[str, torch.Tensor]
    keys: dict[str, str]


def weights_in(checkpoint: Mapping[str, Any]) -> Weights:
    """Takes the tensors out of a checkpoint, and wrappers' parts off their keys.

    Args:
        checkpoint: With a 'state_dict' entry, or 'ema_state_dict' alone; or tensors by key; or
            dicts of them, as DINO's 'teacher' and 'student' and torchvision's 'model', whose names
            then begin the keys; where these hold none, dicts deeper in them, as VISSL's.

    Raises:
        CheckpointError: 'state_dict' is no dict.
    """
    # An average alone is what its file was made for.
    state = checkpoint.get("state_dict", checkpoint.get("ema_state_dict", checkpoint))
    if not isinstance(state, Mapping):
        raise CheckpointError(f"'state_dict' is a {type(state).__name__} and no dict of weights.")
    found: dict[str, torch.Tensor] = {}
    for depth in range(1, DEEPEST + 1):
        if not found:
            found = _tensors(state, depth)
    plain = {key: without_wrappers(key) for key in found}
    if len(set(plain.values())) < len(plain):  # two of them would be one
        plain = {key: key for key in found}
    return Weights({plain[k]: v for k, v in found.items()}, {p: k for k, p in plain.items()})


def _tensors(state: Mapping[str, Any], depth: int) -> dict[str, torch.Tensor]:
    """Tensors of a dict, and of dicts in it to a depth: what these are called begins their keys."""
    found: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            found[str(key)] = value
        elif isinstance(value, Mapping) and depth and key != "optimizer":
            found |= {f"{key}.{k}": v for k, v in _tensors(value, depth - 1).items()}
    return found


def left_beside(checkpoint: Mapping[str, Any]) -> dict[str, list[str]]:
    """Keys of further weights beside 'state_dict', which no reader takes, by their entry's name.

    Such are the averages that several libraries keep, as 'state_dict_ema': dicts that share keys
    with 'state_dict', whatever wrappers have put before them.
    """
    if "state_dict" not in checkpoint:  # then every entry is looked at
        return {}
    ours = weights_in(checkpoint).state
    found = {}
    for name, value in checkpoint.items():
        if name == "state_dict" or not isinstance(value, Mapping):
            continue
        keys = [k for k, v in value.items() if isinstance(k, str) and isinstance(v, torch.Tensor)]
        if any(without_wrappers(key) in ours for key in keys):
            found[str(name)] = keys
    return found


def beside_note(checkpoint: Mapping[str, Any]) -> str:
    """What of a file's weights is not read, in a sentence without its stop; or an empty text."""
    names = " and ".join(map(printable, left_beside(checkpoint)))
    return f"state_dict is read; {names} beside it, with the same keys, left out" if names else ""


def stands_at(checkpoint: Mapping[str, Any], prefix: str) -> bool:
    """Whether a host that is told a prefix finds a backbone there as it is.

    Args:
        checkpoint: As read.
        prefix: As in ``init_cfg``; empty for none.
    """
    stem = f"{prefix.rstrip('.')}." if prefix else ""
    state = checkpoint.get("state_dict", checkpoint)
    tensors = [k for k, v in state.items() if isinstance(v, torch.Tensor) and k.startswith(stem)]
    if not prefix:
        return bool(family(dict.fromkeys(tensors)))
    return bool(tensors) and not any(WRAPPERS & set(key.split(".")) for key in tensors)


def without_wrappers(key: str) -> str:
    """A key without the parts that wrappers add, wherever they stand."""
    return ".".join(part for part in key.split(".") if part not in WRAPPERS)


def places(state: Mapping[str, Any], layout: str, encoder: str) -> Iterator[tuple[str, str]]:
    """Yields (layout, prefix) of each place where a backbone may stand, the likeliest first.

    Args:
        state: As from :func:`weights_in`.
        layout: Key of :data:`LAYOUTS`, or 'auto' for all of them and for every place where a key
            ends as the first block of a backbone that is known does.
        encoder: 'query' or 'key'.

    Raises:
        CheckpointError: Several places are as likely as each other; they are named.
    """
    named = list(LAYOUTS) if layout == "auto" else [layout]
    seen = set()
    for name in named:
        for prefix in LAYOUTS[name][encoder == "key"]:
            if any(key.startswith(prefix) for key in state):
                seen.add(prefix)
                yield name, prefix
    if layout != "auto":
        return
    other = [prefix for prefix in marked(state) if prefix not in seen]
    follow = [prefix for prefix in other if FOLLOWS.search(prefix.rstrip("."))]
    lead = [prefix for prefix in other if prefix not in follow]
    # A teacher alone is what its file was made for.
    alone = follow if not lead and {p.split(".")[0] for p in follow} <= {"teacher"} else []
    chosen = follow if encoder == "key" else lead or alone
    if len(chosen) > 1:
        raise CheckpointError(
            f"There is a backbone under each of {', '.join(map(repr, chosen))}: name one with "
            "--prefix."
        )
    yield from (("found", prefix) for prefix in chosen)
    # What looks like the first block of one may be the name of a list that holds another.
    inner = [prefix for prefix in marked(state, inner=True) if prefix not in seen]
    yield from (("found", p) for p in inner if bool(FOLLOWS.search(p)) == (encoder == "key"))


def marked(state: Mapping[str, Any], inner: bool = False) -> list[str]:
    """Prefixes under which the first block of a known backbone stands, the shortest first.

    Args:
        state: As from :func:`weights_in`.
        inner: Those that stand within others, instead of these.
    """
    known = (*marks(), *VIT_MARKS.values(), SEQUENTIAL_MARK, DETECTRON2_MARK)
    found = {
        key[: -len(mark)]
        for key in state
        for mark in known
        if key == mark or key.endswith(f".{mark}")
    }
    # '4.0.conv1.weight' stands in 'layer4.0...' no more than 'layers.0...' in 'encoder.layers.0...'
    within = {p for p in found if any(o != p and p.startswith(o) for o in found)}
    return sorted(
        within if inner else found - within, key=lambda prefix: (prefix.count("."), prefix)
    )


def first_parts(state: Mapping[str, Any]) -> str:
    """What the keys begin with, for a message."""
    firsts = sorted({key.split(".")[0] for key in state})
    others = f" and {len(firsts) - 8} more" if len(firsts) > 8 else ""
    return f"{', '.join(firsts[:8]) or 'nothing'}{others}"
