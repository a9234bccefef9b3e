# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The batch of a step that went wrong, in a file that `xmoco train --replay` runs again."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ..checkpoint import write_atomic
from ..untrusted import printable

FORMAT = 1
LIMIT = 256 << 20  # bytes of inputs that a file may hold; ours


class Batch(NamedTuple):
    """What is kept of a batch.

    Attributes:
        step: Its iteration, from 1.
        names: Of the images' files; '' where there is none.
        indices: Of the images in the training set; -1 where it is not known.
        inputs: As the loader gave them, tensors; empty where they are gone.
    """

    step: int
    names: list[str]
    indices: list[int]
    inputs: list[torch.Tensor]


def keep(step: int, data_batch: Any, with_inputs: bool) -> Batch:
    """Keeps of a batch what names its images, and its inputs where they are asked for."""
    data = data_batch if isinstance(data_batch, Mapping) else {}
    samples = data.get("data_samples") or []
    names = [str(getattr(sample, "img_path", "") or "") for sample in samples]
    indices = [getattr(sample, "sample_idx", -1) for sample in samples]
    inputs = data.get("inputs") if with_inputs else None
    tensors = [inputs] if torch.is_tensor(inputs) else inputs
    if not isinstance(tensors, Sequence) or not all(map(torch.is_tensor, tensors)):
        tensors = []
    return Batch(step, names, [i if isinstance(i, int) else -1 for i in indices], [*tensors])


def not_finite(batch: Batch) -> list[str]:
    """Names of the images whose input holds NaN or infinity."""
    bad: dict[int, None] = {}
    for tensor in batch.inputs:
        if tensor.is_floating_point() and tensor.dim() and len(tensor) == len(batch.names):
            fine = tensor.flatten(1).isfinite().all(dim=1)
            bad.update(dict.fromkeys((~fine).nonzero().flatten().tolist()))
    return [batch.names[i] or f"image {batch.indices[i]}" for i in bad]


def write(batch: Batch, path: Path, facts: Mapping[str, Any]) -> None:
    """Writes a batch, whole or not at all; inputs above 256 MB are left out.

    Raises:
        NotWrittenError: The system refuses.
    """
    inputs = [tensor.detach().cpu().numpy() for tensor in batch.inputs]
    if sum(array.nbytes for array in inputs) > LIMIT:
        inputs = []
    text = json.dumps(
        {
            "format": FORMAT,
            "step": batch.step,
            "names": list(map(printable, batch.names)),
            "indices": batch.indices,
            "inputs": len(inputs),
            **facts,
        }
    )
    arrays = {f"input_{i}": array for i, array in enumerate(inputs)}
    arrays["facts"] = np.frombuffer(text.encode(), dtype=np.uint8)
    write_atomic(arrays, path, save=lambda a, file: np.savez_compressed(file, **a))
