# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A teacher's features, centred and reduced to the directions in which a set of images varies."""

from typing import NamedTuple

import torch

from ..precision import unit_norm, without_autocast
from .errors import TeacherError

DIMS = 256  # of the keys, at most: measured here with a teacher of 1,280 (docs/lab/teacher.md)
KEPT = 0.95  # share of the variance that a run says how many dimensions keep
ALIKE = 1e-6  # variance over squared length, below which features are one and the same (ours)


class Projection(NamedTuple):
    """From features to keys.

    Attributes:
        mean: (E,), of the features.
        basis: (E, D), orthonormal columns, the principal directions, largest variance first.
        variances: (min(E, n - 1),), of all directions, falling.
    """

    mean: torch.Tensor
    basis: torch.Tensor
    variances: torch.Tensor

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        """(n, E) -> keys (n, D), unit norm, float32 on the features' device."""
        features = features.float()
        mean, basis = self.mean.to(features.device), self.basis.to(features.device)
        with without_autocast(features):
            return unit_norm((features - mean) @ basis)

    def of_places(self, maps: torch.Tensor) -> torch.Tensor:
        """A map of features (n, E, h, w) -> keys of its places (n, D, h, w), unit norm over D."""
        n, _, height, width = maps.shape
        keys = self(maps.flatten(2).transpose(1, 2).flatten(0, 1))  # (n * h * w, D)
        return keys.unflatten(0, (n, height * width)).transpose(1, 2).unflatten(2, (height, width))

    @property
    def kept(self) -> float:
        """Share of the variance that the keys have."""
        total = self.variances.sum()
        return float(self.variances[: self.basis.shape[1]].sum() / total)

    def dims_for(self, share: float = KEPT) -> int:
        """How many dimensions keep so much of the variance."""
        grown = self.variances.cumsum(0) / self.variances.sum()
        return min(int((grown < share).sum()) + 1, len(grown))


def most_dims(width: int, images: int, dims: int = DIMS) -> int:
    """Dimensions of the keys: no more than the features have, or the images span."""
    return max(min(dims, width, images - 1), 1)


def fit_projection(features: torch.Tensor, dims: int = DIMS) -> Projection:
    """Principal components (in float64) of a sample of features.

    Args:
        features: (n, E), n >= 2.
        dims: of the keys; see :func:`most_dims`.

    Raises:
        TeacherError: all features are alike, so that there is no direction.
    """
    features = features.double()
    mean = features.mean(dim=0)
    centred = features - mean
    if alike(features):
        raise TeacherError(
            f"the teacher's features of {len(features):,} images are all alike: it knows nothing "
            "of these images, or its weights are not those of the network. Take another teacher, "
            "or train without one"
        )
    # The smaller of the two Gram matrices has all eigenvalues that are not zero.
    wide = features.shape[1] > len(features)
    gram = centred @ centred.T if wide else centred.T @ centred
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    count = min(features.shape[1], len(features) - 1)
    dims = most_dims(features.shape[1], len(features), dims)
    basis = vectors[:, :dims]
    if wide:
        # Not each by its length: images that are in the sample twice leave directions of no
        # variance, whose rounding errors lie along the largest one.
        basis = torch.linalg.qr(centred.T @ basis).Q
    # The sign of a direction is chance; fixed, so that every machine has the same keys.
    signs = basis.gather(0, basis.abs().argmax(dim=0, keepdim=True)).sign()
    return Projection(
        mean.float(), (basis * signs).float(), (values[:count] / (len(features) - 1)).float()
    )


def alike(features: torch.Tensor) -> bool:
    """Whether features (n, E) of different images are one and the same up to rounding."""
    features = features.double()
    spread = (features - features.mean(dim=0)).square().sum(dim=1).mean()
    return bool(spread <= ALIKE * features.square().sum(dim=1).mean())
