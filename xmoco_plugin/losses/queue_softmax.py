# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Softmax over a long queue, a chunk of keys at a time: no (N, K) matrix is ever held."""

import torch

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
    return _QueueSoftmax.apply(x, queue.detach(), chunk_size)


class _QueueSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: torch.Tensor, queue: torch.Tensor, chunk_size: int):
        high = x.new_full((len(x), 1), -torch.inf)  # the largest logit so far
        total, mean = torch.zeros_like(high), torch.zeros_like(x)
        buffer = x.new_empty((len(x), min(chunk_size, queue.shape[1])))
        for keys in queue.split(chunk_size, dim=1):
            weights = torch.mm(x, keys, out=buffer[:, : keys.shape[1]])  # (N, C)
            top = torch.maximum(high, weights.amax(dim=1, keepdim=True))
            weights.sub_(top).exp_()
            shrink = (high - top).exp_()
            total.mul_(shrink).add_(weights.sum(dim=1, keepdim=True))
            mean.mul_(shrink).addmm_(weights, keys.T)
            high = top
        mean /= total
        log_total = (high + total.log()).squeeze(1)
        ctx.save_for_backward(x, queue, log_total, mean)
        ctx.chunk_size = chunk_size
        ctx.set_materialize_grads(False)
        return log_total, mean

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grad_outputs: torch.Tensor | None):
        x, queue, log_total, mean = ctx.saved_tensors
        grad_total, grad_mean = grad_outputs
        grad = torch.zeros_like(x)
        if grad_total is not None:
            grad.addcmul_(grad_total[:, None], mean)
        if grad_mean is not None:
            # The softmax's covariance of the keys, times the gradient.
            for keys in queue.split(ctx.chunk_size, dim=1):
                weights = (x @ keys).sub_(log_total[:, None]).exp_()
                grad.addmm_(weights.mul_(grad_mean @ keys), keys.T)
            grad -= (grad_mean * mean).sum(dim=1, keepdim=True) * mean
        return grad, None, None
