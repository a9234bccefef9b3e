# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmpretrain.registry import MODELS

from .queue_softmax import CHUNK_SIZE, chunk_for, queue_softmax
from .teacher_terms import TeacherTerm, check_student, check_temperature

TEMPERATURE, TEACHER_TEMPERATURE = 0.1, 0.05  # measured best here (docs/lab/teacher.md)


def teacher_relation(
    q: torch.Tensor,
    k: torch.Tensor,
    keys: torch.Tensor,
    temperature: float = TEMPERATURE,
    teacher_temperature: float = TEACHER_TEMPERATURE,
    chunk_size: int | None = CHUNK_SIZE,
) -> torch.Tensor:
    """How far an image's relation to other images differs between student and teacher.

    The relation of image i is a distribution over its own key and K others: the teacher's is
    softmax([k_i.k_i, k_i.keys] / teacher_temperature), the student's
    softmax([q_i.k_i, q_i.keys] / temperature). The value is the mean over i of KL(teacher ||
    student). As in SEED (arXiv 2101.04731), whose cross entropy differs by the teacher's entropy
    alone: gradients are the same, and here a student that agrees has 0.

    Args:
        q: (N, D), unit norm, of the student, with gradient.
        k: (N, D), unit norm, the teacher's of the same images; no gradient flows into it.
        keys: (D, K), unit-norm columns, the teacher's of other images; K = 0 gives 0.
        temperature: > 0, of the student.
        teacher_temperature: > 0; smaller than the student's it asks for a sharper relation.
        chunk_size: keys at a time, as in :func:`info_nce`.

    Returns:
        Scalar >= 0.

    Raises:
        ValueError: for shapes that do not fit.
    """
    check_student(q, k)
    if keys.ndim != 2 or len(keys) != q.shape[1]:
        raise ValueError(
            f"keys must be (D, K) with D = {q.shape[1]} as in q, got {tuple(keys.shape)}"
        )
    k, keys = k.detach(), keys.detach()
    if keys.shape[1] == 0:
        return 0 * q.sum()
    own_student = (q * k).sum(dim=1, keepdim=True) / temperature  # (N, 1)
    own_teacher = (k * k).sum(dim=1, keepdim=True) / teacher_temperature  # (N, 1)
    chunk = chunk_for(keys, chunk_size)
    if chunk is None:
        student = torch.cat([own_student, q @ keys / temperature], dim=1).log_softmax(dim=1)
        teacher = torch.cat([own_teacher, k @ keys / teacher_temperature], dim=1).log_softmax(dim=1)
        return (teacher.exp() * (teacher - student)).sum(dim=1).mean()
    # Both logits are linear in the keys, so the mean key under the teacher says all.
    total_student, _ = queue_softmax(q / temperature, keys, chunk)
    total_teacher, mean = queue_softmax(k / teacher_temperature, keys, chunk)
    total_student = torch.logaddexp(own_student.squeeze(1), total_student)
    total = torch.logaddexp(own_teacher.squeeze(1), total_teacher)
    others = (total_teacher - total).exp()[:, None]  # their share of the teacher's distribution
    mean = others * mean + (1 - others) * k
    return (
        ((k / teacher_temperature - q / temperature) * mean).sum(dim=1) - total + total_student
    ).mean()


@MODELS.register_module()
class TeacherRelationLoss(TeacherTerm):
    """Weighted :func:`teacher_relation`.

    Args:
        temperature, teacher_temperature, chunk_size: see :func:`teacher_relation`.
        loss_weight: weight >= 0.
    """

    def __init__(
        self,
        temperature: float = TEMPERATURE,
        teacher_temperature: float = TEACHER_TEMPERATURE,
        loss_weight: float = 1.0,
        chunk_size: int | None = CHUNK_SIZE,
    ) -> None:
        super().__init__(loss_weight)
        check_temperature("temperature", temperature)
        check_temperature("teacher_temperature", teacher_temperature)
        self.temperature, self.teacher_temperature = temperature, teacher_temperature
        self.chunk_size = chunk_size

    def value(self, q: torch.Tensor, k: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return teacher_relation(
            q, k, keys, self.temperature, self.teacher_temperature, self.chunk_size
        )

    def extra_repr(self) -> str:
        return (
            f"temperature={self.temperature}, teacher_temperature={self.teacher_temperature}, "
            + super().extra_repr()
        )
