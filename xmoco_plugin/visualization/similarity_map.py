# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The cross-similarity map S = q k^T of one batch, as numbers and as a picture."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from torch import nn

from ..evaluation import evaluation_mode
from ..evaluation.diagnostics import mean_asymmetry
from ..evaluation.features import pool_feature


def cross_similarity(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Cosines of every query with every key (docs/method.md).

    Args:
        q: (N, D), one view of each image; normalised here.
        k: (N, D), the other view, in the same order.

    Returns:
        S, (N, N), float32: S_ij = cos(q_i, k_j); the diagonal holds the positive pairs.
    """
    if q.ndim != 2 or q.shape != k.shape:
        raise ValueError(f"q and k must both be (N, D), got {tuple(q.shape)} and {tuple(k.shape)}")
    return F.normalize(q.float(), dim=1) @ F.normalize(k.float(), dim=1).T


def asymmetry(similarity: torch.Tensor) -> torch.Tensor:
    """|S - S^T|, (N, N): what the consistency term makes small; 0 on the diagonal."""
    return (similarity - similarity.T).abs()


def describe_similarity(similarity: torch.Tensor) -> dict[str, float]:
    """Means of a map.

    Args:
        similarity: (N, N), N >= 2.

    Returns:
        'positive' and 'negative': mean cosine on and off the diagonal; 'asymmetry': mean
        |S_ij - S_ji| off the diagonal.
    """
    off = ~torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    return {
        "positive": float(similarity.diagonal().mean()),
        "negative": float(similarity[off].mean()),
        "asymmetry": float(mean_asymmetry(similarity)),
    }


@torch.no_grad()
def two_view_similarity(model: nn.Module, views: Sequence[torch.Tensor]) -> torch.Tensor:
    """The map of two views of a batch, as a MoCo-like model sees them.

    Evaluation mode, so that no statistic, key or queue changes; every module's mode is given back.

    Args:
        model: with ``backbone``, and where it has them ``neck`` and the key encoder
            ``encoder_k``. Without one, or before its first update, which copies the query
            encoder, the keys come from the query encoder. Of a neck's outputs the first is
            compared, as the host's algorithms do.
        views: two tensors (N, C, H, W), preprocessed.

    Returns:
        S, (N, N), float32, on the CPU.
    """

    def encode(images: torch.Tensor) -> torch.Tensor:
        features = model.backbone(images)
        if neck is None:
            return pool_feature(features)
        return pool_feature(first(neck([features] if takes_crops else features)))

    def first(output):
        # DenseCL's neck also returns an embedding for each place; of a backbone all are stages.
        return output[0] if neck is not None and isinstance(output, tuple | list) else output

    neck, encoder_k = getattr(model, "neck", None), getattr(model, "encoder_k", None)
    # The host's SwAVNeck takes the features of several crops, a part of a list each.
    takes_crops = any(kind.__name__ == "SwAVNeck" for kind in type(neck).__mro__)
    with evaluation_mode(model):
        q = encode(views[0])
        if encoder_k is None or int(getattr(encoder_k, "steps", 1)) == 0:
            k = encode(views[1])
        else:
            k = pool_feature(first(encoder_k(views[1])))
    return cross_similarity(q, k).cpu()


def draw_similarity(
    axes: Axes, similarity: np.ndarray, labels: Sequence[int] | None, title: str
) -> AxesImage:
    """Draw a map, -1 blue to 1 red, with lines between the classes.

    Args:
        axes: where to.
        similarity: (N, N), cosines.
        labels: N class numbers, sorted as the rows are, or None.
        title: above the map.
    """
    numbers = describe_similarity(torch.from_numpy(np.asarray(similarity, dtype=np.float32)))
    image = axes.imshow(similarity, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(
        f"key j (second view)\nmean on the diagonal {numbers['positive']:.2f}, off it "
        f"{numbers['negative']:.2f}\nmean |S$_{{ij}}$ - S$_{{ji}}$| {numbers['asymmetry']:.3f}",
        fontsize=8,
    )
    axes.set_ylabel("query i (first view)", fontsize=8)
    axes.tick_params(labelsize=7)
    draw_class_lines(axes, labels)
    return image


def draw_class_lines(axes: Axes, labels: Sequence[int] | None) -> None:
    """Lines between the classes of a map's rows; none without labels."""
    for edge in np.flatnonzero(np.diff(np.asarray(labels if labels is not None else []))) + 0.5:
        axes.axhline(edge, color="black", linewidth=0.4)
        axes.axvline(edge, color="black", linewidth=0.4)
