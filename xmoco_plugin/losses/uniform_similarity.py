# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math

import torch
from mmpretrain.registry import MODELS

from ..distributed import gather_rows
from .pairs import SimilarityTerm, log_distribution, own_pairs, require_queue
from .queue_softmax import CHUNK_SIZE, QueuePass, Wanted, chunk_for

NEGATIVES = ("batch", "queue")
DIRECTIONS = ("forward", "reverse")
TARGETS = ("uniform", "simplex")


def uniform_similarity(
    q: torch.Tensor,
    k: torch.Tensor,
    queue: torch.Tensor | None = None,
    *,
    negatives: str = "batch",
    direction: str = "forward",
    temperature: float = 0.2,
    target: str = "uniform",
    chunk_size: int | None = CHUNK_SIZE,
    queue_pass: QueuePass | None = None,
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
        temperature: tau > 0; 'simplex' does not use it.
        target: 'uniform', as above; or 'simplex', the mean over i and over its negatives of
            (s_im + 1 / M)^2: n = M + 1 points that are as far from each other as can be lie on a
            simplex, with cosines of -1 / (n - 1), as in VRN (ICML 2025). It has no direction.
        chunk_size: keys of the queue at a time, as in :func:`info_nce`.
        queue_pass: holds ('q', temperature), where the queue is longer than a chunk.

    Returns:
        Scalar >= 0: this rank's mean, whose mean over ranks is that of the global batch. 0 for a
        queue that holds no key yet.

    Raises:
        ValueError: for an option that does not exist, a missing queue, a batch of one image.
    """
    check_options(negatives, direction, target)
    if negatives == "queue":
        queue = require_queue(queue, "negatives='queue'")
        if queue.shape[1] == 0:
            return 0 * q.sum()
        chunk = chunk_for(queue, chunk_size)
        if chunk is not None and target == "simplex":
            level = 1 / queue.shape[1]
            squares = ((q @ (queue @ queue.T * level)) * q).sum(dim=1)
            return (squares + 2 * level * (q @ queue.mean(dim=1))).mean() + level**2
        if chunk is not None:
            queue_pass = queue_pass or QueuePass(q, k, queue, chunk, [("q", temperature)])
            return _in_chunks(q / temperature, queue, direction, *queue_pass.of("q", temperature))
        similarity, own = q @ queue, None  # (n, K)
    else:
        similarity = q @ gather_rows(k).T  # (n, N): S_ij
        own = own_pairs(similarity)
    count = similarity.shape[1] - (1 if own is not None else 0)  # a sum with a bool is not compiled

    if target == "simplex":
        excess = similarity + 1 / count
        if own is not None:
            excess = excess.masked_fill(own, 0.0)
        return excess.square().sum() / (len(q) * count)
    log_p = log_distribution(similarity, temperature, own)
    if direction == "forward":
        return -math.log(count) - log_p.sum(dim=1).mean() / count
    return math.log(count) + (log_p.exp() * log_p).sum(dim=1).mean()


def _in_chunks(
    x: torch.Tensor,
    queue: torch.Tensor,
    direction: str,
    log_total: torch.Tensor,
    mean: torch.Tensor,
) -> torch.Tensor:
    """The term over a long queue from sums over it; x: (n, D), queries over temperature."""
    if direction == "forward":
        # The logits' plain mean is one product.
        return (log_total - x @ queue.mean(dim=1)).mean() - math.log(queue.shape[1])
    return math.log(queue.shape[1]) + ((x * mean).sum(dim=1) - log_total).mean()


def check_options(negatives: str, direction: str, target: str = "uniform") -> None:
    """Raise ValueError, naming what exists, for an unknown option or a pair without meaning."""
    for name, value, known in (
        ("negatives", negatives, NEGATIVES),
        ("direction", direction, DIRECTIONS),
        ("target", target, TARGETS),
    ):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")
    if target == "simplex" and direction != "forward":
        raise ValueError(
            f"direction={direction!r} means nothing with target='simplex', which has no direction: "
            "leave it out, or use target='uniform'"
        )


@MODELS.register_module()
class UniformSimilarityLoss(SimilarityTerm):
    """Weighted :func:`uniform_similarity` (our reading of arXiv 2206.04676).

    Args:
        negatives, direction, target, temperature, chunk_size: see :func:`uniform_similarity`. The
            default temperature is MoCo v2's.
        loss_weight: default 0.1 is ours; over five seeds the term alone could not be told from
            MoCo (docs/lab/study.md). In a pilot the unweighted term rose to about 1.5 beside an
            InfoNCE of 6.
    """

    def __init__(
        self,
        negatives: str = "batch",
        direction: str = "forward",
        temperature: float = 0.2,
        loss_weight: float = 0.1,
        chunk_size: int | None = CHUNK_SIZE,
        target: str = "uniform",
    ) -> None:
        super().__init__(temperature, loss_weight)
        check_options(negatives, direction, target)
        self.negatives, self.direction, self.target = negatives, direction, target
        self.chunk_size = chunk_size

    def queue_wants(self) -> list[Wanted]:
        """See ``SimilarityTerm.queue_wants``."""
        reads = self.negatives == "queue" and self.target == "uniform"
        return [("q", self.temperature)] if reads else []

    def value(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        queue: torch.Tensor | None,
        queue_pass: QueuePass | None = None,
    ) -> torch.Tensor:
        return uniform_similarity(
            q,
            k,
            queue,
            negatives=self.negatives,
            direction=self.direction,
            temperature=self.temperature,
            target=self.target,
            chunk_size=self.chunk_size,
            queue_pass=queue_pass,
        )

    def extra_repr(self) -> str:
        words = f"negatives={self.negatives}, direction={self.direction}, target={self.target}, "
        return words + super().extra_repr()
