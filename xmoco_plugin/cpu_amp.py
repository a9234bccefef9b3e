# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Mixed precision on a CPU, which mmengine's ``AmpOptimWrapper`` refuses."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn


@OPTIM_WRAPPERS.register_module()
class CpuAmpOptimWrapper(OptimWrapper):
    """Networks in bfloat16, weights, gradients and losses in float32, on a CPU.

    It has the range of float32, so that no loss is scaled. The terms of this package leave
    autocast by themselves. A run that goes on on a GPU computes in bfloat16 there.

    Args:
        **kwargs: of mmengine's ``OptimWrapper``.
    """

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Context of a forward pass."""
        device = next(model.parameters()).device.type
        with super().optim_context(model), torch.autocast(device, dtype=torch.bfloat16):
            yield


def multiplies_bfloat16() -> bool:
    """Whether this CPU has instructions for it, AVX512-BF16 or AMX; elsewhere it is slower."""
    has = (
        getattr(torch.cpu, f"_is_{name}_supported", None) for name in ("avx512_bf16", "amx_tile")
    )
    return any(known() for known in has if known is not None)
