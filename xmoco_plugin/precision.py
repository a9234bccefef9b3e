# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Precision of embeddings and losses under mixed-precision training."""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F


def at_least_float32(x: torch.Tensor) -> torch.Tensor:
    """Half-precision tensors as float32, others as they are: bf16 keeps 8 bits of a cosine."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def without_autocast(x: torch.Tensor) -> AbstractContextManager:
    """Context in which operations on the device of ``x`` keep the precision of their inputs."""
    # 'meta', for runs without values, knows no autocast.
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def unit_norm(embeddings: torch.Tensor) -> torch.Tensor:
    """Rows of norm 1, in float32 for half-precision input: in bf16 the norm is 0.997 to 1.003.

    A row of zeros stays one, and is equally far from everything.
    """
    return F.normalize(at_least_float32(embeddings), dim=1)
