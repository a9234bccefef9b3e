# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmpretrain.registry import MODELS

from ..distributed import gather_rows
from .pairs import SimilarityTerm, log_distribution, own_pairs, require_queue
from .queue_softmax import CHUNK_SIZE, chunk_for, queue_softmax

# (pairs, target): divergences. A transposed target carries gradient itself, so that a one-sided
# KL, whose teacher is fixed, has no meaning there.
COMBINATIONS = {
    ("batch", "transpose"): ("mse", "sym_kl"),
    ("batch", "momentum"): ("mse", "sym_kl", "kl"),
    ("queue", "momentum"): ("mse", "sym_kl", "kl"),
}


def cross_consistency(
    q: torch.Tensor,
    k: torch.Tensor,
    queue: torch.Tensor | None = None,
    *,
    pairs: str = "batch",
    target: str = "transpose",
    divergence: str = "mse",
    temperature: float = 0.2,
    chunk_size: int | None = CHUNK_SIZE,
) -> torch.Tensor:
    """How far the similarity of a pair of images changes with the transformations it is seen under.

    Our reading of XMoCo's cross consistency regularization (arXiv 2206.04676, of which the
    abstract was at hand): with S_ij = q_i . k_j, student and teacher are, for ``pairs``/``target``,

    - batch/transpose: S_ij and S_ji, the transformations swapped; gradient through both; i != j;
    - batch/momentum: S_ij and k_i . k_j, fixed; i != j;
    - queue/momentum: q_i . queue_m and k_i . queue_m, fixed; all i and m.

    Args:
        q: (N, D), unit norm. k: (N, D), unit norm. queue: (D, K), unit-norm columns.
        pairs: 'batch' (the global batch, over all ranks) or 'queue'.
        target: 'transpose' or 'momentum'.
        divergence: 'mse', the mean squared difference of the cosines, in [0, 4]; 'kl', the mean
            over rows of KL(teacher || student) of the rows' softmax(. / tau); 'sym_kl', the mean of
            both directions of KL.
        temperature: tau > 0; 'mse' does not use it.
        chunk_size: keys of the queue at a time, as in :func:`info_nce`.

    Returns:
        Scalar >= 0: this rank's mean, whose mean over ranks is that of the global batch. 0 for a
        queue that holds no key yet.

    Raises:
        ValueError: for a combination that does not exist, a missing queue, a batch of one image.
    """
    check_combination(pairs, target, divergence)
    if pairs == "queue":
        queue = require_queue(queue, "pairs='queue'")
        if queue.shape[1] == 0:
            return 0 * q.sum()
        chunk = chunk_for(queue, chunk_size)
        if chunk is not None:
            return _in_chunks(q, k.detach(), queue, divergence, temperature, chunk)
        student, teacher, own = q @ queue, (k @ queue).detach(), None  # (n, K)
    else:
        k_all = gather_rows(k)  # (N, D)
        student = q @ k_all.T  # (n, N): S_ij
        own = own_pairs(student)
        if target == "transpose":
            teacher = k @ gather_rows(q).T  # (n, N): S_ji
        else:
            teacher = (k @ k_all.T).detach()  # (n, N)
    count = student.shape[1] - (own is not None)

    if divergence == "mse":
        difference = student - teacher
        if own is not None:
            difference = difference.masked_fill(own, 0.0)
        return difference.square().sum() / (len(q) * count)

    log_p = log_distribution(student, temperature, own)
    log_r = log_distribution(teacher, temperature, own)
    if divergence == "kl":
        return (log_r.exp() * (log_r - log_p)).sum(dim=1).mean()
    # KL(P||R) + KL(R||P) = sum (P - R)(log P - log R)
    return ((log_p.exp() - log_r.exp()) * (log_p - log_r)).sum(dim=1).mean() / 2


def _in_chunks(
    q: torch.Tensor,
    k: torch.Tensor,
    queue: torch.Tensor,
    divergence: str,
    temperature: float,
    chunk_size: int,
) -> torch.Tensor:
    """The queue term, whose similarities are linear in the keys, from sums over the keys."""
    difference = q - k  # (n, D)
    if divergence == "mse":
        covariance = queue @ queue.T / queue.shape[1]  # (D, D)
        return ((difference @ covariance) * difference).sum(dim=1).mean()
    log_total_p, mean_p = queue_softmax(q / temperature, queue, chunk_size)
    log_total_r, mean_r = queue_softmax(k / temperature, queue, chunk_size)
    difference = difference / temperature
    if divergence == "kl":
        return (log_total_p - log_total_r - (difference * mean_r).sum(dim=1)).mean()
    return (difference * (mean_p - mean_r)).sum(dim=1).mean() / 2


def check_combination(pairs: str, target: str, divergence: str) -> None:
    """Raise ValueError, naming what exists, unless the three options go together."""
    if divergence not in COMBINATIONS.get((pairs, target), ()):
        known = "; ".join(
            f"pairs='{p}', target='{t}': divergence " + ", ".join(repr(d) for d in ds)
            for (p, t), ds in COMBINATIONS.items()
        )
        raise ValueError(
            f"no cross consistency for pairs={pairs!r}, target={target!r}, "
            f"divergence={divergence!r}; there are {known}"
        )


@MODELS.register_module()
class CrossConsistencyLoss(SimilarityTerm):
    """Weighted :func:`cross_consistency` (our reading of arXiv 2206.04676).

    Args:
        pairs, target, divergence, temperature, chunk_size: see :func:`cross_consistency`. The
            default temperature is MoCo v2's.
        loss_weight: default 1.0 is ours and provisional: in a pilot the 'mse' term rose to about
            0.1 beside an InfoNCE of 6, and a weight of 30 stopped learning.
    """

    def __init__(
        self,
        pairs: str = "batch",
        target: str = "transpose",
        divergence: str = "mse",
        temperature: float = 0.2,
        loss_weight: float = 1.0,
        chunk_size: int | None = CHUNK_SIZE,
    ) -> None:
        super().__init__(temperature, loss_weight)
        check_combination(pairs, target, divergence)
        self.pairs, self.target, self.divergence = pairs, target, divergence
        self.chunk_size = chunk_size

    def value(self, q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor | None) -> torch.Tensor:
        return cross_consistency(
            q,
            k,
            queue,
            pairs=self.pairs,
            target=self.target,
            divergence=self.divergence,
            temperature=self.temperature,
            chunk_size=self.chunk_size,
        )

    def extra_repr(self) -> str:
        return (
            f"pairs={self.pairs}, target={self.target}, divergence={self.divergence}, "
            + super().extra_repr()
        )
