# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmpretrain.registry import MODELS

from ..distributed import gather_rows
from .pairs import log_distribution, own_pairs
from .teacher_terms import TeacherTerm, check_student, check_temperature

DIVERGENCES = ("mse", "kl")


def teacher_consistency(
    q: torch.Tensor,
    k: torch.Tensor,
    divergence: str = "mse",
    temperature: float = 0.1,
    teacher_temperature: float = 0.05,
) -> torch.Tensor:
    """How far the similarities of pairs of images differ between student and teacher.

    Cross consistency (our reading of arXiv 2206.04676) with the teacher's matrix as the target:
    q_i . q_j is to be k_i . k_j for all i != j of the global batch. Each network is compared within
    its own space, so that the two may be of any widths.

    Args:
        q: (N, D), unit norm, of the student; gradient flows through both sides of a pair.
        k: (N, E), unit norm, of the teacher; no gradient flows into it.
        divergence: 'mse', the mean squared difference of the cosines, in [0, 4]; 'kl', the mean
            over rows of KL(teacher || student) of the rows' softmax over j != i.
        temperature, teacher_temperature: > 0, of the two softmaxes; 'mse' does not use them.

    Returns:
        Scalar >= 0: this rank's mean, whose mean over ranks is that of the global batch.

    Raises:
        ValueError: for another divergence, other numbers of rows, a batch of one image.
    """
    if divergence not in DIVERGENCES:
        raise ValueError(f"divergence must be one of {', '.join(DIVERGENCES)}, got {divergence!r}")
    check_student(q, k, common_space=False)
    k = k.detach()
    student, teacher = q @ gather_rows(q).T, k @ gather_rows(k).T  # (n, N)
    own = own_pairs(student)
    if divergence == "mse":
        difference = (student - teacher).masked_fill(own, 0.0)
        return difference.square().sum() / (len(q) * (student.shape[1] - 1))
    log_p = log_distribution(student, temperature, own)
    log_r = log_distribution(teacher, teacher_temperature, own)
    return (log_r.exp() * (log_r - log_p)).sum(dim=1).mean()


@MODELS.register_module()
class TeacherConsistencyLoss(TeacherTerm):
    """Weighted :func:`teacher_consistency`.

    Args:
        divergence, temperature, teacher_temperature: see :func:`teacher_consistency`.
        loss_weight: weight >= 0.
    """

    def __init__(
        self,
        divergence: str = "mse",
        temperature: float = 0.1,
        teacher_temperature: float = 0.05,
        loss_weight: float = 1.0,
    ) -> None:
        super().__init__(loss_weight)
        if divergence not in DIVERGENCES:
            raise ValueError(
                f"divergence must be one of {', '.join(DIVERGENCES)}, got {divergence!r}"
            )
        check_temperature("temperature", temperature)
        check_temperature("teacher_temperature", teacher_temperature)
        self.divergence = divergence
        self.temperature, self.teacher_temperature = temperature, teacher_temperature

    def value(self, q: torch.Tensor, k: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return teacher_consistency(
            q, k, self.divergence, self.temperature, self.teacher_temperature
        )

    def extra_repr(self) -> str:
        return f"divergence={self.divergence}, " + super().extra_repr()
