# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which of many images to label next, by their features: farthest first, or the typical ones."""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch

from .knn import check_features, knn_topk

NEIGHBOURS = 20  # that typicality is a mean over (arXiv 2202.02794)
SMALLEST = 5  # images of a cluster; what is in smaller ones is an outlier (same source)
MOST_CLUSTERS = 500  # same source
FEW_CLUSTERS = 50  # up to which all images have a say in each step (same source)
ALIKE = 1e-3  # distance of unit-norm features, well above the rounding of float32 (ours)


class Far(NamedTuple):
    """A pick of :func:`k_centre`.

    Attributes:
        row: Of the image.
        distance: 1 - cosine to the nearest that is labelled or was picked before; None where there
            is neither.
        nearest: Row of that one.
    """

    row: int
    distance: float | None
    nearest: int | None


class Typical(NamedTuple):
    """A pick of :func:`typical`.

    Attributes:
        row: Of the image.
        cluster: Its number; the clusters are numbered as they are first picked from, from 1.
        images: In that cluster, labelled ones too.
        typicality: 1 / mean distance to its nearest neighbours in the cluster; 0 without any.
    """

    row: int
    cluster: int
    images: int
    typicality: float


def are_alike(features: torch.Tensor) -> bool:
    """Whether unit-norm features (n, D) differ by no more than rounding."""
    return len(features) > 1 and float((features - features[0]).norm(dim=1).max()) < ALIKE


def k_centre(features: torch.Tensor, labelled: torch.Tensor, count: int) -> list[Far]:
    """k-centre greedy (arXiv 1708.00489): each time the image that is farthest from all before it.

    Without labelled images the first is the one nearest to the mean of all.

    Args:
        features: (n, D), unit norm.
        labelled: (n,), bool: images that need no label and are picked from no more.
        count: how many to pick.

    Returns:
        ``count`` picks in their order. Equally far ones: the lower row first.

    Raises:
        ValueError: features that are not finite; more picks than unlabelled images.
    """
    _check(features, labelled, count)
    free = ~labelled
    distance = torch.full((len(features),), torch.inf)
    nearest = torch.full((len(features),), -1)
    if labelled.any():
        bank = torch.nonzero(labelled).flatten()
        similarity, place = knn_topk(features, features[bank], 1)
        distance, nearest = 1 - similarity[:, 0], bank[place[:, 0]]
    picks: list[Far] = []
    for _ in range(count):
        if picks or labelled.any():
            row = int(distance.masked_fill(~free, -torch.inf).argmax())
            picks.append(Far(row, max(float(distance[row]), 0.0), int(nearest[row])))
        else:
            row = int((features @ features.mean(dim=0)).masked_fill(~free, -torch.inf).argmax())
            picks.append(Far(row, None, None))
        free[row] = False
        to_it = 1 - features @ features[row]
        nearer = to_it < distance
        distance = torch.where(nearer, to_it, distance)
        nearest[nearer] = row
    return picks


def typical(
    features: torch.Tensor, labelled: torch.Tensor, count: int, seed: int = 0
) -> list[Typical]:
    """TypiClust (arXiv 2202.02794): the image in the densest place of each cluster.

    As many clusters as there are labelled images and picks together, 500 at most. Next is always
    the largest of the clusters with the fewest labelled or picked images; clusters of fewer than
    five images come last, as long as others have any left. Ours: where clusters have fewer than ten
    on average, it is half of that instead of five; neighbours are at most half of a cluster, and
    picked images stay among them.

    Args:
        features: (n, D), unit norm.
        labelled: (n,), bool.
        count: how many to pick.
        seed: of k-means.

    Returns:
        ``count`` picks in their order.

    Raises:
        ValueError: as `k_centre`.
    """
    _check(features, labelled, count)
    cluster_of = cluster(features, min(int(labelled.sum()) + count, MOST_CLUSTERS), seed)
    ranked: dict[int, list[tuple[float, int]]] = {}  # of a cluster: its free images, best last
    covered, size = {}, {}
    for number in cluster_of.unique().tolist():
        rows = torch.nonzero(cluster_of == number).flatten()
        found = typicality(features[rows])
        size[number], covered[number] = len(rows), int(labelled[rows].sum())
        free = [
            (-value, row)
            for value, row in zip(found.tolist(), rows.tolist(), strict=True)
            if not labelled[row]
        ]
        ranked[number] = sorted(free, reverse=True)
    small = min(SMALLEST, len(features) / len(size) / 2)
    picks: list[Typical] = []
    names: dict[int, int] = {}
    for _ in range(count):
        number = min(
            (number for number, left in ranked.items() if left),
            key=lambda n: (size[n] < small, covered[n], -size[n], n),
        )
        value, row = ranked[number].pop()
        name = names.setdefault(number, len(names) + 1)
        picks.append(Typical(row, name, size[number], -value))
        covered[number] += 1
    return picks


def cluster(features: torch.Tensor, number: int, seed: int) -> torch.Tensor:
    """The k-means cluster of each image, (n,) int64; needs scikit-learn."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    if number == 1:
        return torch.zeros(len(features), dtype=torch.int64)
    if number <= FEW_CLUSTERS:
        means = KMeans(number, n_init=1, random_state=seed)
    else:
        means = MiniBatchKMeans(number, n_init=1, batch_size=5000, random_state=seed)
    with warnings.catch_warnings():  # fewer images that differ than clusters: then there are fewer
        warnings.simplefilter("ignore", ConvergenceWarning)
        return torch.from_numpy(means.fit_predict(features.numpy())).long()


def typicality(features: torch.Tensor) -> torch.Tensor:
    """1 / mean distance to the nearest neighbours, of each image of a cluster.

    Args:
        features: (m, D), unit norm.

    Returns:
        (m,), float32: distances between unit vectors, over at most 20 neighbours and half of the
        cluster; zeros where an image is alone.
    """
    if len(features) < 2:
        return torch.zeros(len(features))
    neighbours = min(NEIGHBOURS, max(len(features) // 2, 1))
    # The most similar is the image itself, or one that is equal to it.
    similarity, _ = knn_topk(features, features, neighbours + 1)
    distance = (2 - 2 * similarity[:, 1:]).clamp(min=0).sqrt()
    return 1 / distance.mean(dim=1).clamp(min=ALIKE)


def nearest_alike(picks: Sequence[Far]) -> int | None:
    """Place of the first pick that is like one before it, which holds for all after it; or None."""
    found = (i for i, pick in enumerate(picks) if pick.distance is not None)
    return next((i for i in found if (2 * (picks[i].distance or 0)) ** 0.5 < ALIKE), None)


def _check(features: torch.Tensor, labelled: torch.Tensor, count: int) -> None:
    check_features(features, "images")
    free = int((~labelled).sum())
    if count > free:
        raise ValueError(f"{count:,} images are to be picked, and {free:,} are without a label")
