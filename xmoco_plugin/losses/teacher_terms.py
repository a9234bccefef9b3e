# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the terms against a frozen teacher share: checks, weight, precision."""

import torch
from torch import nn

from ..precision import at_least_float32, without_autocast


def check_student(q: torch.Tensor, k: torch.Tensor, common_space: bool = True) -> None:
    """Raise ValueError unless q and k are rows of the same images, of one width where asked."""
    fits = q.shape == k.shape if common_space else len(q) == len(k)
    if q.ndim != 2 or k.ndim != 2 or not fits:
        asked = "of one shape" if common_space else "of as many rows"
        raise ValueError(
            f"q and k must be (N, D) and {asked}, got {tuple(q.shape)} and {tuple(k.shape)}"
        )


class TeacherTerm(nn.Module):
    """Base of the terms against a frozen teacher.

    Args:
        loss_weight: weight >= 0 of the term in the total.

    Attributes:
        weight_factor: multiplies loss_weight, in [0, 1]; for schedules (``LossWarmupHook``).
    """

    def __init__(self, loss_weight: float) -> None:
        super().__init__()
        check_weight(loss_weight)
        self.loss_weight = loss_weight
        self.weight_factor = 1.0

    def value(self, q: torch.Tensor, k: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """The unweighted term of float32 or float64 embeddings."""
        raise NotImplementedError

    def forward(self, q: torch.Tensor, k: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """The weighted term.

        Args:
            q: (N, D), unit norm, of the student, with gradient.
            k: (N, E), unit norm, of the teacher; no gradient flows into it.
            keys: (E, K), unit-norm columns, of the teacher; no gradient flows into it.

        Returns:
            Scalar, float32 or float64; exactly 0, and free of cost, where the weight is 0.
        """
        weight = self.loss_weight * self.weight_factor
        if weight == 0:
            return at_least_float32(q).new_zeros(())
        with without_autocast(q):
            return weight * self.value(
                at_least_float32(q), at_least_float32(k.detach()), at_least_float32(keys.detach())
            )

    def extra_repr(self) -> str:
        return f"loss_weight={self.loss_weight}"


def check_weight(loss_weight: float) -> None:
    """Raise ValueError if it is negative, or no number."""
    if not loss_weight >= 0:
        raise ValueError(f"loss_weight must not be negative, got {loss_weight}")


def check_temperature(name: str, temperature: float) -> None:
    """Raise ValueError unless it is positive."""
    if not temperature > 0:
        raise ValueError(f"{name} must be positive, got {temperature}")
