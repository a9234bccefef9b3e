# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from dataclasses import dataclass, field

import torch

from ..distributed import gather_rows, world
from .diagnostics import (
    alignment,
    dimension_std,
    hypersphere_uniformity,
    info_nce_of,
    mean_asymmetry,
    negative_entropy,
    pixel_match,
    similarity_histogram,
    uninformed_nce,
    without_own,
)

MIN_VIEWS = 32  # fewer images are too easily told apart by their pixels
MAX_QUERIES = 256  # of a process, compared with the negatives: larger batches cost no more


@dataclass
class Compared:
    """What one call of a head compares, without gradient, at least in float32.

    Attributes:
        q: (n, D), unit norm: queries, or predictions of the keys; None where they are not seen.
        k: (n, D), unit norm: keys of the same images.
        queue: (D, K), unit-norm columns: past keys.
        positive: (n,) similarities of each query to its own key, where the head is given those.
        negative: (n, K) similarities to the others.
        views: thumbnails of both views of the images, (n, C, 8, 8) each.
    """

    q: torch.Tensor | None = None
    k: torch.Tensor | None = None
    queue: torch.Tensor | None = None
    positive: torch.Tensor | None = None
    negative: torch.Tensor | None = None
    views: tuple[torch.Tensor, torch.Tensor] | None = None


@dataclass
class StepHealth:
    """Numbers of one training step, on the device.

    Attributes:
        values: scalars by name; docs/judge_a_run.md says what they are.
        histograms: (2, 40) counts of positive and negative similarities.
        embeddings: (N, D) queries of the global batch, or None.
        negatives: K of a query.
    """

    values: dict[str, torch.Tensor] = field(default_factory=dict)
    histograms: torch.Tensor | None = None
    embeddings: torch.Tensor | None = None
    negatives: int = 0


@torch.no_grad()
def measure_step(seen: Compared, temperature: float | None) -> StepHealth:
    """Every number that one step's embeddings give; the host waits for nothing.

    Those of the batch are of the global batch, alike on every rank; those of the negatives are of
    this rank's queries. Collective.

    Args:
        seen: what the head was given.
        temperature: of its contrastive loss; without one, InfoNCE and entropy are left out.
    """
    step = StepHealth()
    positive, negative, values = seen.positive, seen.negative, step.values
    if seen.views is not None and len(seen.views[0]) >= MIN_VIEWS:
        values["pixel_match"] = pixel_match(*(view[:MAX_QUERIES] for view in seen.views))
    if seen.q is not None:
        step.embeddings = gather_rows(seen.q)
        if len(step.embeddings) > 1:
            values["dim_std"] = dimension_std(step.embeddings)
            values["uniformity_wi"] = hypersphere_uniformity(step.embeddings)
    if seen.q is not None and seen.k is not None:
        keys = gather_rows(seen.k)
        positive = (seen.q * seen.k).sum(dim=1)
        values["alignment"] = alignment(seen.q, seen.k)
        if len(keys) > 1:
            values["asymmetry"] = mean_asymmetry(step.embeddings @ keys.T)
        queries = seen.q[:MAX_QUERIES]
        if seen.queue is not None:
            negative = queries @ seen.queue
        else:
            negative = without_own(queries @ keys.T, world()[0] * len(seen.k))
    if positive is None or negative is None:
        return step
    values["pos_sim_mean"], values["pos_sim_std"] = positive.mean(), positive.std(correction=0)
    own = similarity_histogram(positive)
    others = torch.zeros_like(own)
    positive, negative = positive[:MAX_QUERIES], negative[:MAX_QUERIES]
    step.negatives = negative.shape[1]
    if step.negatives:
        values["neg_sim_mean"] = negative.mean()
        values["neg_sim_std"] = negative.std(correction=0)
        others = similarity_histogram(negative)
    if step.negatives > 1 and temperature is not None:
        nce = info_nce_of(positive, negative, temperature)
        values["nce_ratio"] = nce / uninformed_nce(step.negatives)
        values["neg_entropy"] = negative_entropy(negative, temperature)
    step.histograms = torch.stack([own, others])
    return step
