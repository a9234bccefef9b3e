# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import torch

from ..progress import watched
from .knn import check_features, check_k


@torch.no_grad()
def retrieval_scores(
    features: torch.Tensor,
    labels: torch.Tensor,
    ks: Sequence[int] = (1, 5, 10),
    chunk: int = 256,
    show: bool = False,
) -> dict[str, float]:
    """Recall@k and mAP, each image looking for its class among all the others.

    Recall@k is the share of the images with one of their class among the k most similar
    (arXiv 1511.06452); mAP the mean of the average precision of the whole ranking. Equal
    similarities go to the lower row. An image that is alone in its class cannot find any: it stays
    in the gallery, and does not ask.

    Args:
        features: (n, D), unit norm.
        labels: (n,).
        ks: 1 <= k < n.
        chunk: images that ask at a time; chunk * n similarities and ranks exist at once.
        show: a bar on the terminal.

    Returns:
        In percent, by name: 'recall@1', ..., 'mAP'.

    Raises:
        ValueError: features that are not finite, k out of range, no two images of a class, one
            class only.
    """
    check_features(features, "images")
    for k in ks:
        check_k(k, len(features) - 1)
    labels = labels.to(features.device)
    _, of, counts = labels.unique(return_inverse=True, return_counts=True)
    if len(counts) < 2:
        raise ValueError(f"all {len(labels)} images are of one class: every ranking is right")
    asking = torch.nonzero(counts[of] > 1).flatten()
    if not len(asking):
        raise ValueError(f"none of {len(labels)} images has another one of its class to find")
    found = [0] * len(ks)
    precision = 0.0
    rank = torch.arange(1, len(features), device=features.device)
    parts = asking.split(chunk)
    for rows in watched(parts, "retrieval", show, least=4):
        similarity = features[rows].float() @ features.T.float()  # (q, n)
        similarity[torch.arange(len(rows)), rows] = -torch.inf  # itself: last, and cut off
        order = similarity.sort(dim=1, descending=True, stable=True).indices[:, :-1]
        right = labels[order] == labels[rows, None]  # (q, n - 1)
        found = [n + int(right[:, :k].any(dim=1).sum()) for n, k in zip(found, ks, strict=True)]
        # In float32: Apple's mps has no float64. Sums over the chunks are Python's.
        at_hit = right.cumsum(dim=1) / rank * right
        precision += float((at_hit.sum(dim=1) / right.sum(dim=1)).sum())
    percent = 100 / len(asking)
    scores = {f"recall@{k}": n * percent for k, n in zip(ks, found, strict=True)}
    return scores | {"mAP": precision * percent}
