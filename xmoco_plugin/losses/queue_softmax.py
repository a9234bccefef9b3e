# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Softmax over a long queue, a chunk of keys at a time: no (N, K) matrix is ever held."""

from collections.abc import Iterable, Sequence

import torch

Wanted = tuple[str, float]  # 'q' or 'k', divided by this temperature

# Shorter queues take the plain form. Measured: 1,024 to 8,192 are alike (docs/lab/performance.md).
CHUNK_SIZE = 4096


def chunk_for(queue: torch.Tensor, chunk_size: int | None) -> int | None:
    """Keys at a time, or None where the queue (D, K) is one chunk: the plain form fits.

    Args:
        chunk_size: at least 1, or None for a plain form always.
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1 or None, got {chunk_size}")
    return None if chunk_size is None or queue.shape[1] <= chunk_size else chunk_size


def queue_softmax(
    x: torch.Tensor, queue: torch.Tensor, chunk_size: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each row's log-sum-exp over the keys, and the mean key under its softmax.

    With l_im = x_i . queue_m and P_i the softmax of row i, log_total_i = log sum_m exp(l_im) and
    mean_i = sum_m P_im queue_m: sums of P_im times anything linear in queue_m are products with it.
    Both are exact, with exact gradients for x. Passes over the queue: one, whose cost is that of
    the plain forward and backward pass; one more backwards if ``mean`` carries gradient.

    Args:
        x: (N, D), the queries divided by the temperature.
        queue: (D, K), K >= 1; no gradient flows into it.
        chunk_size: keys at a time. Memory: about N x chunk_size numbers.

    Returns:
        log_total (N,) and mean (N, D).
    """
    return queue_softmaxes([x], queue, chunk_size)[0]


def queue_softmaxes(
    parts: Sequence[torch.Tensor], queue: torch.Tensor, chunk_size: int
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """:func:`queue_softmax` of each part, in one pass: a chunk of keys is read once for all.

    Args:
        parts: each (N, D).
        queue, chunk_size: as there; the memory is that of the largest part.
    """
    flat = _QueueSoftmaxes.apply(queue.detach(), chunk_size, *parts)
    return list(zip(flat[0::2], flat[1::2], strict=True))


class QueuePass:
    """The softmaxes over one long queue that several losses want, made in one pass over it.

    Args:
        q, k: (N, D), unit norm; no gradient flows into k.
        queue: (D, K), longer than a chunk.
        chunk_size: keys at a time.
        wanted: 'q' or 'k', and a temperature; what is wanted twice is made once.
    """

    def __init__(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        queue: torch.Tensor,
        chunk_size: int,
        wanted: Iterable[Wanted],
    ) -> None:
        self.chunk_size = chunk_size
        rows, keys = {"q": q, "k": k.detach()}, tuple(dict.fromkeys(wanted))
        made = queue_softmaxes([rows[side] / t for side, t in keys], queue, chunk_size)
        self._made = dict(zip(keys, made, strict=True))

    def of(self, side: str, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        """log_total (N,) and mean (N, D) of what was wanted; see :func:`queue_softmax`."""
        return self._made[side, temperature]


class _QueueSoftmaxes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, queue: torch.Tensor, chunk_size: int, *parts: torch.Tensor):
        highs = [x.new_full((len(x), 1), -torch.inf) for x in parts]  # the largest logit so far
        totals = [torch.zeros_like(high) for high in highs]
        means = [torch.zeros_like(x) for x in parts]
        rows = max(len(x) for x in parts)
        buffer = parts[0].new_empty(rows * min(chunk_size, queue.shape[1]))
        for keys in queue.split(chunk_size, dim=1):
            for i, x in enumerate(parts):
                shape = (len(x), keys.shape[1])
                weights = torch.mm(x, keys, out=buffer[: shape[0] * shape[1]].view(shape))  # (N, C)
                top = torch.maximum(highs[i], weights.amax(dim=1, keepdim=True))
                weights.sub_(top).exp_()
                shrink = (highs[i] - top).exp_()
                totals[i].mul_(shrink).add_(weights.sum(dim=1, keepdim=True))
                means[i].mul_(shrink).addmm_(weights, keys.T)
                highs[i] = top
        outputs: list[torch.Tensor] = []
        for high, total, mean in zip(highs, totals, means, strict=True):
            outputs += [(high + total.log()).squeeze(1), mean.div_(total)]
        ctx.save_for_backward(queue, *parts, *outputs)
        ctx.chunk_size = chunk_size
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grad_outputs: torch.Tensor | None):
        queue, *saved = ctx.saved_tensors
        count = len(grad_outputs) // 2
        grads: list[torch.Tensor | None] = []
        for i, x in enumerate(saved[:count]):
            outputs = saved[count + 2 * i : count + 2 * i + 2]
            wanted = ctx.needs_input_grad[2 + i]
            pair = grad_outputs[2 * i : 2 * i + 2]
            grads.append(_gradient(x, queue, outputs, pair, ctx.chunk_size) if wanted else None)
        return None, None, *grads


def _gradient(
    x: torch.Tensor,
    queue: torch.Tensor,
    outputs: Sequence[torch.Tensor],
    grad_outputs: Sequence[torch.Tensor | None],
    chunk_size: int,
) -> torch.Tensor:
    """Of one part, (N, D)."""
    (log_total, mean), (grad_total, grad_mean) = outputs, grad_outputs
    grad = torch.zeros_like(x)
    if grad_total is not None:
        grad.addcmul_(grad_total[:, None], mean)
    if grad_mean is not None:
        # The softmax's covariance of the keys, times the gradient.
        for keys in queue.split(chunk_size, dim=1):
            weights = (x @ keys).sub_(log_total[:, None]).exp_()
            grad.addmm_(weights.mul_(grad_mean @ keys), keys.T)
        grad -= (grad_mean * mean).sum(dim=1, keepdim=True) * mean
    return grad
