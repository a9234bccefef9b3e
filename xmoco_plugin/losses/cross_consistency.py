# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmpretrain.registry import MODELS

from ..distributed import gather_rows
from .pairs import SimilarityTerm, log_distribution, own_pairs, require_queue
from .queue_softmax import CHUNK_SIZE, QueuePass, Wanted, chunk_for
from .relation_rows import row_weights, rows_in_chunks, rows_with_own

# (pairs, target): divergences. A transposed target carries gradient itself, so that a one-sided
# KL, whose teacher is fixed, has no meaning there.
COMBINATIONS = {
    ("batch", "transpose"): ("mse", "sym_kl"),
    ("batch", "momentum"): ("mse", "sym_kl", "kl"),
    ("queue", "momentum"): ("mse", "sym_kl", "kl"),
}
SPACES = ("neck", "backbone")
# What a fixed teacher with a distribution may have besides: the divergences that it goes with.
REFINEMENTS = {
    "teacher_temperature": ("sym_kl", "kl"),
    "confidence": ("sym_kl", "kl"),
    "positive": ("kl",),
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
    teacher_temperature: float | None = None,
    positive: bool = False,
    positive_share: float = 0.5,
    confidence: bool = False,
    chunk_size: int | None = CHUNK_SIZE,
    queue_pass: QueuePass | None = None,
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
        teacher_temperature: tau > 0 of the teacher's rows, smaller for a sharper teacher, as in
            ReSSL (arXiv 2107.09282). None: ``temperature``. With a momentum target and a KL.
        positive: the own key S_ii is one more entry of the student's row and has
            ``positive_share`` of the teacher's, whose other entries share the rest, as in SCE
            (arXiv 2111.14585). With a momentum target and 'kl'.
        positive_share: in [0, 1]; SCE's is 0.5.
        confidence: weight each row by 1 - H / log M, with H the entropy of the teacher's
            distribution over its M pairs, as ASCL does: a teacher who knows nothing teaches
            nothing. With a momentum target and a KL.
        chunk_size: keys of the queue at a time, as in :func:`info_nce`.
        queue_pass: holds what :func:`wanted` names, where the queue is longer than a chunk.

    Returns:
        Scalar >= 0: this rank's mean, whose mean over ranks is that of the global batch. 0 for a
        queue that holds no key yet.

    Raises:
        ValueError: for a combination that does not exist, a missing queue, a batch of one image.
    """
    check_combination(pairs, target, divergence)
    check_refinements(target, divergence, teacher_temperature, positive, confidence)
    tau, tau_r = temperature, teacher_temperature or temperature
    share = positive_share if positive else None
    if pairs == "queue":
        queue = require_queue(queue, "pairs='queue'")
        if queue.shape[1] == 0:
            return 0 * q.sum()
        k = k.detach()
        chunk = chunk_for(queue, chunk_size)
        if chunk is not None:
            if divergence == "mse":
                covariance = queue @ queue.T / queue.shape[1]  # (D, D)
                return (((q - k) @ covariance) * (q - k)).sum(dim=1).mean()
            queue_pass = queue_pass or QueuePass(q, k, queue, chunk, wanted(divergence, tau, tau_r))
            rows, entropy = rows_in_chunks(q, k, queue_pass, divergence, tau, tau_r, share)
            return (rows * row_weights(entropy, queue.shape[1], confidence)).mean()
        student, teacher, own = q @ queue, k @ queue, None  # (n, K)
    else:
        k_all = gather_rows(k)  # (N, D)
        student = q @ k_all.T  # (n, N): S_ij
        own = own_pairs(student)
        if target == "transpose":
            teacher = k @ gather_rows(q).T  # (n, N): S_ji
        else:
            teacher = (k @ k_all.T).detach()  # (n, N)
    count = student.shape[1] - (1 if own is not None else 0)  # a sum with a bool is not compiled

    if divergence == "mse":
        difference = student - teacher
        if own is not None:
            difference = difference.masked_fill(own, 0.0)
        return difference.square().sum() / (len(q) * count)

    log_r = log_distribution(teacher, tau_r, own)
    if share is not None:
        rows = rows_with_own(q, k, student, log_r, own, tau, share)
    else:
        log_p = log_distribution(student, tau, own)
        if divergence == "kl":
            rows = (log_r.exp() * (log_r - log_p)).sum(dim=1)
        else:  # KL(P||R) + KL(R||P) = sum (P - R)(log P - log R)
            rows = ((log_p.exp() - log_r.exp()) * (log_p - log_r)).sum(dim=1) / 2
    return (rows * row_weights(-(log_r.exp() * log_r).sum(dim=1), count, confidence)).mean()


def wanted(divergence: str, temperature: float, teacher_temperature: float) -> list[Wanted]:
    """What the queue term reads of a pass over a long queue."""
    return [] if divergence == "mse" else [("q", temperature), ("k", teacher_temperature)]


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


def check_refinements(
    target: str,
    divergence: str,
    teacher_temperature: float | None,
    positive: bool,
    confidence: bool,
) -> None:
    """Raise ValueError where an option asks a teacher for what it has not; names who has it."""
    if teacher_temperature is not None and not teacher_temperature > 0:
        raise ValueError(f"teacher_temperature must be positive, got {teacher_temperature}")
    asked = dict(
        teacher_temperature=teacher_temperature,
        positive=positive or None,
        confidence=confidence or None,
    )
    for name, value in asked.items():
        if value is not None and (target != "momentum" or divergence not in REFINEMENTS[name]):
            kinds = " or ".join(repr(d) for d in REFINEMENTS[name])
            raise ValueError(
                f"{name}={value} means nothing with target={target!r}, divergence={divergence!r}: "
                f"it needs target='momentum' with divergence={kinds}"
            )


@MODELS.register_module()
class CrossConsistencyLoss(SimilarityTerm):
    """Weighted :func:`cross_consistency` (our reading of arXiv 2206.04676).

    Args:
        pairs, target, divergence, temperature, chunk_size: see :func:`cross_consistency`. The
            default temperature is MoCo v2's.
        teacher_temperature, positive, positive_share, confidence: see :func:`cross_consistency`.
        space: 'neck', the similarities of the embeddings; or 'backbone', those of the unit-norm
            means over the places of the backbone's last map, with a queue of their own.
        loss_weight: default 1.0 is ours, of one seed beside the uniformity's 0.1; over five seeds
            4.0 and 0.4 could not be told from MoCo (docs/lab/study.md). In a pilot the 'mse' term
            rose to about 0.1 beside an InfoNCE of 6, and 30 stopped learning.
    """

    def __init__(
        self,
        pairs: str = "batch",
        target: str = "transpose",
        divergence: str = "mse",
        temperature: float = 0.2,
        loss_weight: float = 1.0,
        chunk_size: int | None = CHUNK_SIZE,
        teacher_temperature: float | None = None,
        positive: bool = False,
        positive_share: float = 0.5,
        confidence: bool = False,
        space: str = "neck",
    ) -> None:
        super().__init__(temperature, loss_weight)
        check_combination(pairs, target, divergence)
        check_refinements(target, divergence, teacher_temperature, positive, confidence)
        if not 0 <= positive_share <= 1:
            raise ValueError(f"positive_share is a share, in [0, 1], got {positive_share}")
        self.pairs, self.target, self.divergence = pairs, target, divergence
        self.chunk_size = chunk_size
        self.teacher_temperature = teacher_temperature
        self.positive, self.positive_share = positive, positive_share
        self.confidence = confidence
        if space not in SPACES:
            raise ValueError(f"space must be one of 'neck', 'backbone', got {space!r}")
        self.space = space

    def queue_wants(self) -> list[Wanted]:
        """See ``SimilarityTerm.queue_wants``."""
        tau_r = self.teacher_temperature or self.temperature
        return wanted(self.divergence, self.temperature, tau_r) if self.pairs == "queue" else []

    def value(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        queue: torch.Tensor | None,
        queue_pass: QueuePass | None = None,
    ) -> torch.Tensor:
        return cross_consistency(
            q,
            k,
            queue,
            pairs=self.pairs,
            target=self.target,
            divergence=self.divergence,
            temperature=self.temperature,
            teacher_temperature=self.teacher_temperature,
            positive=self.positive,
            positive_share=self.positive_share,
            confidence=self.confidence,
            chunk_size=self.chunk_size,
            queue_pass=queue_pass,
        )

    def extra_repr(self) -> str:
        words = [f"pairs={self.pairs}, target={self.target}, divergence={self.divergence}"]
        if self.teacher_temperature is not None:
            words.append(f"teacher_temperature={self.teacher_temperature}")
        if self.positive:
            words.append(f"positive_share={self.positive_share}")
        if self.confidence:
            words.append("confidence=True")
        if self.space != "neck":
            words.append(f"space={self.space}")
        return ", ".join([*words, super().extra_repr()])
