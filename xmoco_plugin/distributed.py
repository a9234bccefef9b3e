# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Batch-wide communication; the identity without a process group."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from mmengine.model import is_model_wrapper
from torch import nn


def world() -> tuple[int, int]:
    """Rank and number of processes; ``(0, 1)`` where there is no process group."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def restarts() -> bool:
    """Whether torchrun starts this training's processes again, with more machines or fewer."""
    return os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") not in ("", "0")


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
    if world()[1] == 1:
        return rows
    if not _shared or rows.requires_grad or rows.is_inference():
        return _GatherRows.apply(rows)
    for own, version, gathered in _shared[-1]:
        # The same numbers, whatever view of them asks: a term detaches the keys that it is given.
        if own.is_set_to(rows) and version == rows._version:
            return gathered
    gathered = _GatherRows.apply(rows)
    _shared[-1].append((rows, rows._version, gathered))
    return gathered


# What was gathered within `gathers_shared`: the rows, their version, and the rows of all ranks.
_shared: list[list[tuple[torch.Tensor, int, torch.Tensor]]] = []


@contextmanager
def gathers_shared() -> Iterator[None]:
    """Within it, rows without gradient are gathered once, however often they are asked for.

    Several losses compare with the same keys, and every rank asks for the same ones in the same
    order. Rows that were written to in between are gathered anew (by torch's count of writes, which
    does not see those through ``.data``). What is gathered is shared: it must not be written to.
    """
    _shared.append(_shared[-1] if _shared else [])
    try:
        yield
    finally:
        _shared.pop()


class RowExchange:
    """One all-to-all of rows, without gradient, begun here and over with ``wait``.

    In the background it travels while the caller computes something else. Both buffers stay alive
    until ``wait``, which keeps neither, and every rank must begin its collectives in the same
    order, as always.

    Args:
        rows: (n, ...), sorted by destination rank.
        send_counts: rows for each rank; their sum is n.
        receive_counts: rows from each rank.
        background: return before the rows have arrived.
    """

    def __init__(
        self,
        rows: torch.Tensor,
        send_counts: list[int],
        receive_counts: list[int],
        background: bool = True,
    ) -> None:
        self._sent: torch.Tensor | None = rows.contiguous()
        self._received: torch.Tensor | None = self._sent
        self._work: dist.Work | None = None
        if world()[1] > 1:
            self._received = rows.new_empty((sum(receive_counts), *rows.shape[1:]))
            self._work = dist.all_to_all_single(
                self._received, self._sent, receive_counts, send_counts, async_op=background
            )

    def wait(self) -> torch.Tensor:
        """(sum of receive_counts, ...), sorted by source rank; the caller's alone, so only once.

        With NCCL the current stream waits, not the host.

        Raises:
            RuntimeError: on a second call.
        """
        if self._received is None:
            raise RuntimeError("the rows of this exchange have been handed over: keep them")
        if self._work is not None:
            self._work.wait()
        received = self._received
        self._work = self._sent = self._received = None
        return received


def exchange_rows(
    rows: torch.Tensor, send_counts: list[int], receive_counts: list[int]
) -> torch.Tensor:
    """A ``RowExchange`` from beginning to end: the rows that have arrived."""
    return RowExchange(rows, send_counts, receive_counts, background=False).wait()


_run_seed: list[int] = []  # while a run lasts that has told its seed


def seed_of_run(seed: int | None) -> None:
    """Let `shared_seed` be of this seed, which a resumed run has again; None: as before."""
    _run_seed[:] = [] if seed is None else [seed]


def shared_seed(device: torch.device | str = "cpu") -> int:
    """Rank 0's seed of the run, or its ``torch.initial_seed()``, on every rank; it draws nothing.

    Args:
        device: where the message travels; NCCL wants a CUDA device.
    """
    own = _run_seed[0] if _run_seed else torch.initial_seed()
    # int64 holds 63 bits of a seed that may have 64.
    seed = torch.tensor([own % 2**63], dtype=torch.int64, device=device)
    if world()[1] > 1:
        dist.broadcast(seed, src=0)
    return int(seed.item())
