# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from torch import nn

from ..precision import at_least_float32, without_autocast
from .teacher_terms import check_weight

MATCHES = ("cosine", "relation")


def teacher_dense(q: torch.Tensor, k: torch.Tensor, match: str = "cosine") -> torch.Tensor:
    """How far the places of an image's feature map differ between student and teacher.

    Both maps are of one crop, so that places match once the teacher's map has the student's size:
    averaged where it is larger, interpolated where it is smaller.

    Args:
        q: (n, D, h, w), of the student, of any norm, with gradient.
        k: (n, E, H, W), the teacher's of the same crops; no gradient flows into it.
        match: 'cosine', the mean of 1 - cosine of a place's two vectors, in [0, 2]; D = E.
            'relation', the mean squared difference of the cosines between two places p != r of one
            image, in [0, 4]: each network within its own space, so that widths may differ. It is
            the consistency of a batch, with places for images.

    Returns:
        Scalar >= 0: this rank's mean.

    Raises:
        ValueError: for another match, shapes that do not fit, a map of one place.
    """
    check_match(match)
    if q.ndim != 4 or k.ndim != 4 or len(q) != len(k):
        raise ValueError(
            "dense compares maps (n, D, h, w) of as many images, got "
            f"{tuple(q.shape)} and {tuple(k.shape)}"
        )
    size = q.shape[2:]
    k = k.detach()
    if k.shape[2:] != size:
        k = F.interpolate(k, size, mode="bilinear", antialias=True, align_corners=False)
    student, teacher = (F.normalize(x.flatten(2), dim=1) for x in (q, k))  # (n, D, P), (n, E, P)
    if match == "cosine":
        if student.shape[1] != teacher.shape[1]:
            raise ValueError(
                f"dense=dict(match='cosine'): places of {student.shape[1]} numbers, the teacher's "
                f"have {teacher.shape[1]}: set neck.out_channels, or match='relation'"
            )
        return 1 - (student * teacher).sum(dim=1).mean()
    places = student.shape[2]
    if places < 2:
        raise ValueError(
            "dense=dict(match='relation') compares places of a map with each other, and the "
            "student's map has one: use larger views, or match='cosine'"
        )
    difference = student.transpose(1, 2) @ student - teacher.transpose(1, 2) @ teacher  # (n, P, P)
    own = torch.eye(places, dtype=torch.bool, device=q.device)
    difference = difference.masked_fill(own, 0.0)
    return difference.square().sum() / (len(q) * places * (places - 1))


def check_match(match: str) -> None:
    """Raise ValueError unless it is one of ``MATCHES``."""
    if match not in MATCHES:
        raise ValueError(f"match must be one of {', '.join(MATCHES)}, got {match!r}")


@MODELS.register_module()
class TeacherDenseLoss(nn.Module):
    """Weighted :func:`teacher_dense`, for detectors and segmentors.

    Args:
        match: see :func:`teacher_dense`.
        loss_weight: weight >= 0.

    Attributes:
        weight_factor: multiplies loss_weight, in [0, 1]; for schedules (``LossWarmupHook``).
        common_space: whether the student's places must be in the teacher's space.
    """

    def __init__(self, match: str = "cosine", loss_weight: float = 1.0) -> None:
        super().__init__()
        check_match(match)
        check_weight(loss_weight)
        self.match, self.loss_weight = match, loss_weight
        self.weight_factor = 1.0
        self.common_space = match == "cosine"

    def forward(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """The weighted term of two maps; exactly 0, and free of cost, where the weight is 0."""
        weight = self.loss_weight * self.weight_factor
        if weight == 0:
            return at_least_float32(q).new_zeros(())
        with without_autocast(q):
            return weight * teacher_dense(at_least_float32(q), at_least_float32(k), self.match)

    def extra_repr(self) -> str:
        return f"match={self.match}, loss_weight={self.loss_weight}"
