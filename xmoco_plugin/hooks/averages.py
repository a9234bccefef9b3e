# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""BatchNorm's running averages, measured anew with the weights as they are."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from mmengine.dist import all_reduce
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

Batch = TypeVar("Batch")


def norms_that_follow(model: nn.Module) -> list[_BatchNorm]:
    """The BatchNorm layers whose running averages a training moves, as the model stands."""
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
    return [norm for norm in norms if norm.track_running_stats]


@torch.no_grad()
def measure_anew(
    norms: Iterable[_BatchNorm], run: Callable[[Batch], object], batches: Iterable[Batch]
) -> int:
    """Replaces running averages by the mean over batches, and over processes, each alike.

    Args:
        norms: In training mode; nothing else of them is changed.
        run: Sends a batch through the model.
        batches: At least one; as many in each process.

    Returns:
        How many batches there were.
    """
    norms, count = list(norms), 0
    kept = [
        (norm.momentum, None if (n := norm.num_batches_tracked) is None else n.clone())
        for norm in norms
    ]
    for count, batch in enumerate(batches, 1):
        for norm in norms:
            norm.momentum = 1 / count  # not None, torch's word for it, which SplitBN has not
        run(batch)
    for norm, (momentum, tracked) in zip(norms, kept, strict=True):
        for statistic in (norm.running_mean, norm.running_var):
            all_reduce(statistic, op="mean")
        norm.momentum = momentum
        if tracked is not None:
            norm.num_batches_tracked.copy_(tracked)
    return count
