# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmpretrain.registry import MODELS

from .teacher_terms import TeacherTerm, check_student


def teacher_cosine(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Mean over i of 1 - q_i . k_i: the student's feature is to be the teacher's.

    Args:
        q: (N, D), unit norm, of the student, with gradient.
        k: (N, D), unit norm, the teacher's of the same images; no gradient flows into it.

    Returns:
        Scalar in [0, 2].
    """
    check_student(q, k)
    return 1 - (q * k.detach()).sum(dim=1).mean()


@MODELS.register_module()
class TeacherCosineLoss(TeacherTerm):
    """Weighted :func:`teacher_cosine`.

    Args:
        loss_weight: weight >= 0.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__(loss_weight)

    def value(self, q: torch.Tensor, k: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return teacher_cosine(q, k)
