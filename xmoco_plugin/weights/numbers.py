# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Weights that cannot be right: not finite, integers, only zeros, or no numbers at all."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from ..untrusted import printable
from .container import RECORD_LIMIT
from .errors import CheckpointError

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.bool)
# What is a number in every network that is read here, by the last part of its name. Counters,
# pointers, indices and masks (num_batches_tracked, queue_ptr, relative_position_index) are not.
NUMBERS = re.compile(
    r"(.*weight(_[gv])?|.*bias|running_(mean|var)|gamma.*|beta|.*_token|pos_embed|.*bias_table"
    r"|queue\d*)$"
)
# Encoders of the layouts that are read: one of them may be empty where the rest is not.
ENCODERS = ("backbone.", "encoder_q.", "encoder_k.", "base_encoder.", "momentum_encoder.")
NAME_LIMIT = 1000  # characters (ours)
# How much larger views may be than what is stored (ours): tied weights are counted each time.
VIEW_FACTOR, VIEW_SLACK = 16, 64 << 20


def weights_of(checkpoint: Mapping[Any, Any]) -> Iterator[tuple[Mapping[Any, Any], bool]]:
    """Yields the weights in a checkpoint, and whether they stand among other entries.

    Raises:
        CheckpointError: 'state_dict' is no dict.
    """
    for name in ("state_dict", "ema_state_dict"):
        state = checkpoint.get(name)
        if name in checkpoint and not isinstance(state, Mapping):
            raise CheckpointError(f"'{name}' is a {type(state).__name__} and no dict of weights.")
        if isinstance(state, Mapping):
            yield state, False
    if "state_dict" not in checkpoint:
        yield checkpoint, True
        # As DINO's teacher and student, and torchvision's model.
        for name, value in checkpoint.items():
            if isinstance(value, Mapping) and name not in ("optimizer", "optim_wrapper"):
                yield value, True


def check_weights(state: Mapping[Any, Any], among_others: bool = False) -> None:
    """Refuses weights that cannot be right.

    Args:
        state: Tensors by name.
        among_others: Entries that are neither tensors nor named as weights are are passed over, as
            where weights lie beside an epoch's number.

    Raises:
        CheckpointError: The first tensor at fault, what is wrong with it, and how many more are.
    """
    if among_others and not any(isinstance(v, torch.Tensor) for v in state.values()):
        return
    if len(state) > RECORD_LIMIT:
        raise CheckpointError(f"it holds {len(state):,} weights, the limit is {RECORD_LIMIT:,}.")
    tensors = {}
    for key, value in state.items():
        _check_name(key)
        last = key.rsplit(".", 1)[-1]
        if isinstance(value, torch.Tensor):
            _check_kind(key, value, bool(NUMBERS.match(last)))
            tensors[key] = value
        elif "_packed_params" in key:
            raise CheckpointError(_quantised(key))
        elif last != "_extra_state" and not (among_others and not NUMBERS.match(last)):
            raise CheckpointError(f"{_quoted(key)} is a {type(value).__name__} and no tensor.")
    _check_sizes(tensors)
    _check_values({k: v for k, v in tensors.items() if v.dtype in FLOATS and v.numel()})


def check_kinds(model_state: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Refuses integers where the model has numbers with a fraction.

    Raises:
        CheckpointError: With the first such tensor.
    """
    for key, ours in model_state.items():
        theirs = state.get(key)
        if (
            isinstance(ours, torch.Tensor)
            and isinstance(theirs, torch.Tensor)
            and ours.is_floating_point()
            and not theirs.is_floating_point()
        ):
            raise CheckpointError(_integers(key, theirs))


def check_optimizer(checkpoint: Mapping[Any, Any]) -> None:
    """Refuses to go on from an optimizer whose state is not finite: one step would spread it.

    Raises:
        CheckpointError: With the number of its tensors that are not.
    """
    part = {k: v for k, v in checkpoint.items() if k in ("optimizer", "optim_wrapper")}
    tensors = [t for t in tensors_in(part) if t.dtype in FLOATS and t.numel()]
    bad = sum(t.is_meta or (t.layout == torch.strided and not _finite(t)) for t in tensors)
    if bad:
        raise CheckpointError(
            f"{bad:,} of the {len(tensors):,} tensors of its optimizer hold values that are not "
            "finite: training cannot go on from here. Resume from an older checkpoint, or start "
            "from the weights alone (load_from=FILE, resume=False)."
        )
    for name, number in _settings(part):
        if not math.isfinite(number):
            raise CheckpointError(
                f"its optimizer was left with {printable(name)} = {number}: training cannot go on "
                "from here. Resume from an older checkpoint."
            )


def check_claims(checkpoint: object, size: int) -> None:
    """Refuses tensors that claim more bytes than the file of ``size`` bytes has.

    Raises:
        CheckpointError: With both numbers.
    """
    storages = {}
    for tensor in tensors_in(checkpoint):
        if tensor.layout == torch.strided and not tensor.is_meta:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    claimed = sum(storages.values())
    if claimed > size:
        raise CheckpointError(
            f"its tensors claim {claimed:,} bytes, the file has {size:,}: it is damaged or forged."
        )


def tensors_in(value: object) -> Iterator[torch.Tensor]:
    """Yields every tensor inside dicts, lists and tuples, however deep."""
    left: list[object] = [value]
    seen: set[int] = set()  # a list may hold itself
    while left:
        item = left.pop()
        if isinstance(item, torch.Tensor):
            yield item
        elif isinstance(item, (dict, list, tuple)) and id(item) not in seen:
            seen.add(id(item))
            left += item.values() if isinstance(item, dict) else item


def _check_name(key: object) -> None:
    if not isinstance(key, str):
        raise CheckpointError(
            f"one of its weights is named {str(key)[:80]!a}, a {type(key).__name__} and no text."
        )
    if len(key) > NAME_LIMIT:
        raise CheckpointError(
            f"a weight's name has {len(key):,} characters: {_quoted(key[:40])} and so on."
        )
    if not key.isprintable():
        raise CheckpointError(f"the name {_quoted(key)} has characters that are not printable.")


def _check_kind(key: str, tensor: torch.Tensor, number: bool) -> None:
    what = ""
    if tensor.is_nested or tensor.layout != torch.strided:
        what = f"a tensor of layout {str(tensor.layout).removeprefix('torch.')}"
    elif tensor.is_meta:
        what = "a tensor without values (meta)"
    elif tensor.is_quantized:
        raise CheckpointError(_quantised(key))
    elif tensor.dtype not in FLOATS + INTEGERS:
        what = f"of type {str(tensor.dtype).removeprefix('torch.')}"
    if what:
        raise CheckpointError(
            f"{_quoted(key)} is {what}, which no weight that is read here is: save it as float32."
        )
    if number and tensor.dtype not in FLOATS:
        raise CheckpointError(_integers(key, tensor))


def _check_sizes(tensors: Mapping[str, torch.Tensor]) -> None:
    stored: dict[int, int] = {}
    seen = 0
    for key, tensor in tensors.items():
        storage = tensor.untyped_storage()
        stored[storage.data_ptr()] = storage.nbytes()
        seen += tensor.numel() * tensor.element_size()
        limit = VIEW_FACTOR * sum(stored.values()) + VIEW_SLACK
        if seen > limit:
            raise CheckpointError(
                f"{_quoted(key)} claims the shape {tuple(tensor.shape)}, of which the file holds "
                f"{storage.nbytes():,} bytes only."
            )


def _check_values(tensors: Mapping[str, torch.Tensor]) -> None:
    bad, zero, negative = [], {}, []
    for key, tensor in tensors.items():
        low, high = torch.aminmax(tensor.detach())
        zero[key] = bool(low == 0 and high == 0)
        if not torch.isfinite(low) or not torch.isfinite(high):
            bad.append(key)
        elif key.endswith("running_var") and low < 0:
            negative.append(key)
    if bad:
        count = int((~torch.isfinite(tensors[bad[0]])).sum())
        raise CheckpointError(
            f"{_quoted(bad[0])} holds {count:,} values that are not finite{_further(bad)}: a "
            "training that ended so has diverged. Use an older checkpoint."
        )
    if negative:
        raise CheckpointError(
            f"{_quoted(negative[0])} holds variances below zero{_further(negative)}: no features "
            "come of that."
        )
    for prefix in ("", *ENCODERS):
        # Biases and the last layer of a block may honestly be zero, each matrix may not.
        matrices = [k for k, t in tensors.items() if t.dim() > 1 and k.startswith(prefix)]
        if len(matrices) > (1 if prefix else 0) and all(zero[k] for k in matrices):
            where = f" under {prefix[:-1]!r}" if prefix else ""
            raise CheckpointError(
                f"every matrix{where} holds only zeros, from {_quoted(matrices[0])} on: nothing "
                "has been learnt in there."
            )


def _settings(part: Mapping[Any, Any]) -> Iterator[tuple[str, float]]:
    for optimizer in part.values():
        groups = optimizer.get("param_groups") if isinstance(optimizer, Mapping) else None
        for group in groups if isinstance(groups, list) else ():
            for name, value in group.items() if isinstance(group, Mapping) else ():
                if isinstance(value, float):
                    yield str(name), value


def _finite(tensor: torch.Tensor) -> bool:
    low, high = torch.aminmax(tensor.detach())
    return bool(torch.isfinite(low) and torch.isfinite(high))


def _further(keys: Iterable[str]) -> str:
    count = len(list(keys)) - 1
    return f", and {count:,} further tensor{'s do' if count > 1 else ' does'} so" if count else ""


def _quantised(key: str) -> str:
    return (
        f"{_quoted(key)} is of a quantised network, whose weights nothing is trained on from: name "
        "the checkpoint from before it was quantised."
    )


def _integers(key: str, tensor: torch.Tensor) -> str:
    return (
        f"{_quoted(key)} holds integers ({str(tensor.dtype).removeprefix('torch.')}) where a "
        "network has numbers with a fraction: save it as float32 with its scale worked in."
    )


def _quoted(key: str) -> str:
    return f"'{printable(key)}'"
