# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
import torch.nn.functional as F

from ..precision import at_least_float32, without_autocast
from .pairs import check_embeddings
from .queue_softmax import CHUNK_SIZE, QueuePass, chunk_for


def info_nce(
    q: torch.Tensor,
    k: torch.Tensor,
    queue: torch.Tensor,
    temperature: float,
    chunk_size: int | None = CHUNK_SIZE,
    queue_pass: QueuePass | None = None,
) -> torch.Tensor:
    """InfoNCE of momentum contrast (arXiv 1911.05722): pick each query's own key out of the queue.

    Mean over i of -log(e^(q_i.k_i/tau) / (e^(q_i.k_i/tau) + sum_m e^(q_i.queue_m/tau))).

    Args:
        q: (N, D), unit norm, with gradient.
        k: (N, D), unit norm; no gradient flows into it.
        queue: (D, K), unit-norm columns, the negatives; no gradient flows into it. K = 0 gives 0.
        temperature: tau > 0.
        chunk_size: a longer queue is compared with so many keys at a time, which gives the same
            value and gradient without an (N, K) matrix; None for never.
        queue_pass: holds ('q', temperature), where the queue is longer than a chunk.

    Returns:
        Scalar >= 0, in float32 for half-precision input. Uninformed value: log(1 + K).
    """
    check_embeddings(q, k, queue)
    with without_autocast(q):
        q, k, queue = at_least_float32(q), at_least_float32(k), at_least_float32(queue)
        positive = (q * k.detach()).sum(dim=1, keepdim=True)  # (N, 1)
        chunk = chunk_for(queue, chunk_size)
        if chunk is not None:
            positive = positive.squeeze(1) / temperature
            queue_pass = queue_pass or QueuePass(q, k, queue, chunk, [("q", temperature)])
            log_total, _ = queue_pass.of("q", temperature)
            return (torch.logaddexp(positive, log_total) - positive).mean()
        negative = q @ queue.detach()  # (N, K)
        logits = torch.cat([positive, negative], dim=1) / temperature  # (N, 1 + K)
        return F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long))
