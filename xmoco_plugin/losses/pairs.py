# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the similarity terms share: checks, the pairs of the global batch, rows as distributions."""

import torch
from torch import nn

from ..distributed import world
from ..precision import at_least_float32, without_autocast
from .queue_softmax import QueuePass, Wanted


def check_embeddings(q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor | None = None) -> None:
    """Raise ValueError unless q and k are (N, D) and queue, where given, is (D, K)."""
    if q.ndim != 2 or q.shape != k.shape:
        raise ValueError(
            f"q and k must be (N, D) and of one shape, got {tuple(q.shape)} and {tuple(k.shape)}"
        )
    if queue is not None and (queue.ndim != 2 or len(queue) != q.shape[1]):
        raise ValueError(
            f"queue must be (D, K) with D = {q.shape[1]} as in q, got {tuple(queue.shape)}"
        )


def require_queue(queue: torch.Tensor | None, option: str) -> torch.Tensor:
    """The queue, or ValueError naming the option that needs it."""
    if queue is None:
        raise ValueError(
            f"{option} compares with the queue, but no queue was given: pass queue (D, K)"
        )
    return queue


def own_pairs(similarity: torch.Tensor) -> torch.Tensor:
    """Mask of the pairs (i, i) in this rank's rows of the global cross-similarity.

    Args:
        similarity: (n, N), this rank's rows, in the order of the ranks.

    Returns:
        bool (n, N), True where the column is the row's own image.

    Raises:
        ValueError: for N = 1, where there is no pair of two images.
    """
    n, total = similarity.shape
    if total < 2:
        raise ValueError(
            f"pairs of the batch need at least 2 images, but the global batch holds {total}: "
            "raise batch_size, or use the queue (pairs='queue', negatives='queue')"
        )
    rows = torch.arange(n, device=similarity.device) + world()[0] * n
    return rows[:, None] == torch.arange(total, device=similarity.device)


def log_distribution(
    similarity: torch.Tensor, temperature: float, excluded: torch.Tensor | None
) -> torch.Tensor:
    """Each row's log softmax(. / temperature) over the pairs that are not excluded.

    Args:
        similarity: (n, M) cosines.
        temperature: tau > 0.
        excluded: bool (n, M) or None.

    Returns:
        (n, M) log-probabilities, with 0 at the excluded places: there both a log-probability and
        the difference of two of them add nothing to a sum, and no gradient flows.
    """
    logits = similarity / temperature
    if excluded is None:
        return logits.log_softmax(dim=1)
    return logits.masked_fill(excluded, -torch.inf).log_softmax(dim=1).masked_fill(excluded, 0.0)


class SimilarityTerm(nn.Module):
    """Base of the two terms: weight, warm-up factor, precision.

    Args:
        temperature: tau > 0 of the rows' softmax.
        loss_weight: weight >= 0 of the term in the total.

    Attributes:
        chunk_size: keys of the queue at a time, or None.
        space: what is compared: 'neck', the embeddings, or 'backbone', the features before it.
        weight_factor: multiplies loss_weight, in [0, 1]; for schedules (``LossWarmupHook``).
        key_gradient: let the gradient through to k, also to that of other ranks, wherever k is not
            part of a fixed teacher; for algorithms that train both sides (``RegularizedHead``).
    """

    chunk_size: int | None = None
    space: str = "neck"

    def __init__(self, temperature: float, loss_weight: float) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        if not loss_weight >= 0:
            raise ValueError(f"loss_weight must not be negative, got {loss_weight}")
        self.temperature = temperature
        self.loss_weight = loss_weight
        self.weight_factor = 1.0
        self.key_gradient = False

    @property
    def weight(self) -> float:
        """What the term is multiplied with now."""
        return self.loss_weight * self.weight_factor

    def queue_wants(self) -> list[Wanted]:
        """What the term reads of a pass over a queue that is longer than a chunk."""
        return []

    def value(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        queue: torch.Tensor | None,
        queue_pass: QueuePass | None = None,
    ) -> torch.Tensor:
        """The unweighted term of float32 or float64 embeddings."""
        raise NotImplementedError

    def forward(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        queue: torch.Tensor | None = None,
        queue_pass: QueuePass | None = None,
    ) -> torch.Tensor:
        """The weighted term.

        Args:
            q: (N, D), unit norm, with gradient.
            k: (N, D), unit norm; no gradient flows into it unless ``key_gradient``.
            queue: (D, K), unit-norm columns; no gradient flows into it.
            queue_pass: has what :meth:`queue_wants` names, made of these embeddings; None: the term
                makes a pass of its own.

        Returns:
            Scalar, float32 or float64. Exactly 0, and free of cost, where the weight is 0.

        Raises:
            ValueError: for shapes that do not fit, a missing queue, or a batch of one image.
        """
        check_embeddings(q, k, queue)
        if self.weight == 0:
            return at_least_float32(q).new_zeros(())
        with without_autocast(q):
            q, k = at_least_float32(q), at_least_float32(k if self.key_gradient else k.detach())
            queue = None if queue is None else at_least_float32(queue.detach())
            return self.weight * self.value(q, k, queue, queue_pass)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}, loss_weight={self.loss_weight}"
