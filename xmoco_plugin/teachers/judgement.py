# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Does a teacher know anything of these images? Figures with and without labels, and a verdict."""

from typing import NamedTuple

import torch

from ..evaluation.diagnostics import effective_rank
from ..evaluation.knn import knn_topk, knn_votes
from ..evaluation.verdict import Accuracy
from ..precision import unit_norm
from .projection import alike

LOOKED_AT = 1000  # images that figures without labels are of, at most


class Figures(NamedTuple):
    """What features say of a set of images.

    Attributes:
        rank: Effective rank (RankMe) of the centred features: how many directions they use.
        similarity: Mean cosine of two different images' features, as they are.
        knn: Accuracy, percent; None without labels.
    """

    rank: float
    similarity: float
    knn: float | None = None


class TeacherVerdict(NamedTuple):
    """Whether to learn from a teacher.

    Attributes:
        knows: Whether it knows something of these images; None where the figures do not tell.
        reason: The rest of the sentence.
    """

    knows: bool | None
    reason: str


def figures(features: torch.Tensor, knn: float | None = None) -> Figures:
    """Of features (n, E), n >= 2; of at most LOOKED_AT of them."""
    features = features[:LOOKED_AT].float()
    unit = unit_norm(features)
    n = len(unit)
    similarity = (unit.sum(dim=0).square().sum() - n) / (n * (n - 1))
    if alike(features):  # what is left without the mean is rounding
        return Figures(1.0, float(similarity), knn)
    return Figures(
        float(effective_rank(unit_norm(features - features.mean(0)))), float(similarity), knn
    )


def knn_accuracy(
    bank: torch.Tensor, labels: torch.Tensor, queries: torch.Tensor, truth: torch.Tensor, k: int
) -> float:
    """Weighted kNN (temperature 0.07), percent, of features with any norm.

    Args:
        bank: (M, E). labels: (M,). queries: (Q, E). truth: (Q,).
        k: neighbours; no more than M are asked.
    """
    similarity, rows = knn_topk(unit_norm(queries), unit_norm(bank), min(k, len(bank)))
    classes = int(max(labels.max(), truth.max())) + 1
    votes = knn_votes(similarity, labels[rows.cpu()].to(similarity.device), classes, 0.07)
    return 100 * float((votes.argmax(dim=1).cpu() == truth).float().mean())


def judge_teacher(
    teacher: Figures,
    start: Figures,
    pixels: float | None = None,
    images: int = 0,
) -> TeacherVerdict:
    """Whether a teacher knows enough of these images to learn from it.

    Args:
        teacher: Its figures.
        start: Those of the student before training.
        pixels: kNN on raw pixels, percent; None without labels.
        images: That kNN classified.
    """
    if teacher.rank < 2:
        return TeacherVerdict(
            False,
            f"its features of different images are all alike (effective rank {teacher.rank:.2f}, "
            f"mean similarity {teacher.similarity:.3f})",
        )
    if teacher.knn is None or pixels is None:
        return TeacherVerdict(
            None,
            "without labels this cannot be told: its features use "
            f"{teacher.rank:.0f} directions, those of the start {start.rank:.0f}. With --labels "
            "its kNN is compared with that of raw pixels and of the start",
        )
    against = Accuracy(teacher.knn, pixels, images)
    said = f"its kNN is {teacher.knn:.1f} %, that of raw pixels {pixels:.1f} %"
    if not against.can_tell:
        return TeacherVerdict(None, f"{said}; {images:,} labelled images do not tell them apart")
    if not against.has_risen:
        return TeacherVerdict(False, f"{said}: no better by more than chance")
    if start.knn is not None and start.knn >= teacher.knn:
        return TeacherVerdict(
            False, f"{said}, and that of the start is {start.knn:.1f} % already: it has no more"
        )
    return TeacherVerdict(True, said)
