# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Batch-wide communication; the identity without a process group."""

import torch
import torch.distributed as dist
from mmengine.model import is_model_wrapper
from torch import nn


def world() -> tuple[int, int]:
    """Rank and number of processes; ``(0, 1)`` where there is no process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, out of the wrapper that distributed training puts around it."""
    return model.module if is_model_wrapper(model) else model


class _GatherRows(torch.autograd.Function):
    """All-gather along dim 0; backward sums the gradients that the ranks have for these rows."""

    @staticmethod
    def forward(ctx, rows: torch.Tensor) -> torch.Tensor:
        rank, size = world()
        ctx.rows = slice(rank * len(rows), (rank + 1) * len(rows))
        gathered = rows.new_empty((size * len(rows), *rows.shape[1:]))
        dist.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grad_outputs: torch.Tensor) -> torch.Tensor:
        # An all-reduce and a slice: every backend has it, and at (N, D) floats it costs nothing
        # beside the images.
        grad = grad_outputs[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(grad)
        return grad[ctx.rows]


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """Rows of all ranks in the order of the ranks, differentiable.

    Args:
        rows: (n, ...), the same n on every rank.

    Returns:
        (R * n, ...) for R ranks. Its backward gives each rank the sum, over all ranks, of the
        gradient for its own rows: with DDP's division by R, the mean of the ranks' losses then has
        the gradient that one process with the whole batch has.
    """
    return rows if world()[1] == 1 else _GatherRows.apply(rows)


def exchange_rows(
    rows: torch.Tensor, send_counts: list[int], receive_counts: list[int]
) -> torch.Tensor:
    """One all-to-all of rows, without gradient.

    Args:
        rows: (n, ...), sorted by destination rank.
        send_counts: rows for each rank; their sum is n.
        receive_counts: rows from each rank.

    Returns:
        (sum of receive_counts, ...), sorted by source rank.
    """
    if world()[1] == 1:
        return rows
    received = rows.new_empty((sum(receive_counts), *rows.shape[1:]))
    dist.all_to_all_single(received, rows.contiguous(), receive_counts, send_counts)
    return received


def shared_seed(device: torch.device | str = "cpu") -> int:
    """Rank 0's ``torch.initial_seed()``, on every rank; it draws nothing from any generator.

    Args:
        device: where the message travels; NCCL wants a CUDA device.
    """
    # int64 holds 63 bits of a seed that may have 64.
    seed = torch.tensor([torch.initial_seed() % 2**63], dtype=torch.int64, device=device)
    if world()[1] > 1:
        dist.broadcast(seed, src=0)
    return int(seed.item())
