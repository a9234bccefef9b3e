# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math

import torch
from mmpretrain.registry import MODELS

from ..distributed import gather_rows
from .pairs import SimilarityTerm, log_distribution, own_pairs, require_queue
from .queue_softmax import CHUNK_SIZE, chunk_for, queue_softmax

NEGATIVES = ("batch", "queue")
DIRECTIONS = ("forward", "reverse")


def uniform_similarity(
    q: torch.Tensor,
    k: torch.Tensor,
    queue: torch.Tensor | None = None,
    *,
    negatives: str = "batch",
    direction: str = "forward",
    temperature: float = 0.2,
    chunk_size: int | None = CHUNK_SIZE,
) -> torch.Tensor:
    """How far each image's similarities to its negatives are from being spread evenly.

    Our reading of XMoCo's uniform similarity over the negative pairs (arXiv 2206.04676, of which
    the abstract was at hand). With P_i the softmax(. / tau) of row i's similarities to its M
    negatives and U the uniform distribution over them: mean over i of KL(U || P_i) or KL(P_i || U).
    Not the hypersphere uniformity of Wang and Isola (arXiv 2005.10242).

    Args:
        q: (N, D), unit norm. k: (N, D), unit norm. queue: (D, K), unit-norm columns.
        negatives: 'batch', S_ij = q_i . k_j for j != i in the global batch, M = N - 1; or 'queue',
            q_i . queue_m, M = K.
        direction: 'forward', KL(U || P), which punishes a negative that is left far behind;
            'reverse', KL(P || U), which punishes one that stands out, at most log M.
        temperature: tau > 0.
        chunk_size: keys of the queue at a time, as in :func:`info_nce`.

    Returns:
        Scalar >= 0: this rank's mean, whose mean over ranks is that of the global batch. 0 for a
        queue that holds no key yet.

    Raises:
        ValueError: for an option that does not exist, a missing queue, a batch of one image.
    """
    check_options(negatives, direction)
    if negatives == "queue":
        queue = require_queue(queue, "negatives='queue'")
        if queue.shape[1] == 0:
            return 0 * q.sum()
        chunk = chunk_for(queue, chunk_size)
        if chunk is not None:
            return _in_chunks(q / temperature, queue, direction, chunk)
        similarity, own = q @ queue, None  # (n, K)
    else:
        similarity = q @ gather_rows(k).T  # (n, N): S_ij
        own = own_pairs(similarity)
    count = similarity.shape[1] - (own is not None)

    log_p = log_distribution(similarity, temperature, own)
    if direction == "forward":
        return -math.log(count) - log_p.sum(dim=1).mean() / count
    return math.log(count) + (log_p.exp() * log_p).sum(dim=1).mean()


def _in_chunks(
    x: torch.Tensor, queue: torch.Tensor, direction: str, chunk_size: int
) -> torch.Tensor:
    """The term over a long queue from sums over it; x: (n, D), queries over temperature."""
    log_total, mean = queue_softmax(x, queue, chunk_size)
    if direction == "forward":
        # The logits' plain mean is one product.
        return (log_total - x @ queue.mean(dim=1)).mean() - math.log(queue.shape[1])
    return math.log(queue.shape[1]) + ((x * mean).sum(dim=1) - log_total).mean()


def check_options(negatives: str, direction: str) -> None:
    """Raise ValueError, naming what exists, for an unknown option."""
    for name, value, known in (
        ("negatives", negatives, NEGATIVES),
        ("direction", direction, DIRECTIONS),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")


@MODELS.register_module()
class UniformSimilarityLoss(SimilarityTerm):
    """Weighted :func:`uniform_similarity` (our reading of arXiv 2206.04676).

    Args:
        negatives, direction, temperature, chunk_size: see :func:`uniform_similarity`. The
            default temperature is MoCo v2's.
        loss_weight: default 0.1 is ours and provisional: in a pilot the unweighted term rose to
            about 1.5 beside an InfoNCE of 6.
    """

    def __init__(
        self,
        negatives: str = "batch",
        direction: str = "forward",
        temperature: float = 0.2,
        loss_weight: float = 0.1,
        chunk_size: int | None = CHUNK_SIZE,
    ) -> None:
        super().__init__(temperature, loss_weight)
        check_options(negatives, direction)
        self.negatives, self.direction = negatives, direction
        self.chunk_size = chunk_size

    def value(self, q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor | None) -> torch.Tensor:
        return uniform_similarity(
            q,
            k,
            queue,
            negatives=self.negatives,
            direction=self.direction,
            temperature=self.temperature,
            chunk_size=self.chunk_size,
        )

    def extra_repr(self) -> str:
        return f"negatives={self.negatives}, direction={self.direction}, " + super().extra_repr()
