# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the embeddings of one training step say of its health: pure functions, no host waits.

Similarities are cosines. Every function takes tensors and returns a scalar tensor on their device,
unless it says otherwise; only ``effective_rank`` makes the host wait for an accelerator.
"""

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F

BINS = 20  # of similarities to either side of 0: 40 of 0.05
HISTOGRAM_EDGES = torch.arange(-BINS, BINS + 1) / BINS


def uninformed_nce(negatives: int) -> float:
    """InfoNCE of a guess, log(1 + K): the own key is one of 1 + K that look alike.

    Args:
        negatives: K, keys that a query's own key is told from.
    """
    return math.log1p(negatives)


def info_nce_of(positive: torch.Tensor, negative: torch.Tensor, temperature: float) -> torch.Tensor:
    """InfoNCE (arXiv 1807.03748) from similarities; the heads' ``loss_nce``, without gradient.

    Args:
        positive: (N,), of each query to its own key.
        negative: (N, K), to the others.
        temperature: tau > 0.
    """
    rest = (negative / temperature).logsumexp(dim=1)
    return (torch.logaddexp(positive / temperature, rest) - positive / temperature).mean()


def negative_entropy(negative: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean entropy of the rows' softmax(. / tau) over log K: 1 if every negative counts alike.

    0 if one negative alone counts; e^(value * log K) is the number that count. It falls with the
    temperature and with hard negatives.

    Args:
        negative: (N, K), K >= 2, similarities of each query to its negatives.
        temperature: tau > 0.
    """
    log_p = (negative / temperature).log_softmax(dim=1)
    entropy = -(log_p.exp() * log_p).sum(dim=1)
    return entropy.mean() / math.log(negative.shape[1])


def dimension_std(z: torch.Tensor) -> torch.Tensor:
    """Standard deviation over the batch, averaged over the dimensions (arXiv 2011.10566, fig. 2).

    1 / sqrt(D) for vectors spread evenly over the sphere, 0 where all are equal. Its square is at
    most (1 - m) / D, with m the mean cosine of two vectors.

    Args:
        z: (N, D), unit norm, N >= 2.
    """
    return z.std(dim=0, correction=0).mean()


def effective_rank(z: torch.Tensor) -> torch.Tensor:
    """RankMe (arXiv 2210.02885): e^entropy of the singular values, normalised to sum 1.

    Between 1 (all on one line) and min(N, D); NaN where a value is not finite. The host waits for
    the device and computes: not every accelerator has float64.

    Args:
        z: (N, D).

    Returns:
        Scalar, float64, on the CPU.
    """
    z = z.detach().cpu().double()
    if not z.isfinite().all():  # for which no eigenvalues are found
        return z.new_tensor(math.nan)
    # From the smaller Gram matrix in float64: as exact as needed, and far cheaper than an SVD.
    gram = z.T @ z if z.shape[0] > z.shape[1] else z @ z.T
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    return torch.special.entr(singular / singular.sum()).sum().exp()


def alignment(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of the two views (Wang and Isola, arXiv 2005.10242, alpha = 2).

    2 - 2 cos for unit vectors: 0 where the views are the same, 2 where they are unrelated.

    Args:
        q: (N, D), unit norm. k: (N, D), unit norm, keys of the same images.
    """
    return (q - k).square().sum(dim=1).mean()


def hypersphere_uniformity(z: torch.Tensor, t: float = 2.0) -> torch.Tensor:
    """log of the mean e^(-t |x - y|^2) over pairs (Wang and Isola, arXiv 2005.10242).

    0 where all vectors are equal; evenly spread ones come near -2t. Not XMoCo's uniform
    similarity.

    Args:
        z: (N, D), unit norm, N >= 2. t: default as in the source.
    """
    n = len(z)
    exponents = -t * (2 - 2 * z @ z.T)
    exponents.fill_diagonal_(-torch.inf)
    return exponents.flatten().logsumexp(dim=0) - math.log(n * (n - 1))


def mean_asymmetry(similarity: torch.Tensor) -> torch.Tensor:
    """Mean |S_ij - S_ji| over i != j: what the consistency term makes small (docs/method.md).

    Args:
        similarity: S, (N, N), N >= 2, of each query to each key.
    """
    n = len(similarity)
    return (similarity - similarity.T).abs().sum() / (n * (n - 1))


def without_own(similarity: torch.Tensor, first: int = 0) -> torch.Tensor:
    """The columns of other images.

    Args:
        similarity: (n, N), row i to all images of the batch.
        first: column that holds row 0's own image; row i's is i further on.

    Returns:
        (n, N - 1).
    """
    n, total = similarity.shape
    own = torch.arange(n, device=similarity.device)[:, None] + first
    others = torch.arange(total - 1, device=similarity.device).expand(n, -1)
    return similarity.gather(1, others + (others >= own))


def similarity_histogram(similarity: torch.Tensor, limit: int = 2**18) -> torch.Tensor:
    """Counts (40,), int64, in ``HISTOGRAM_EDGES``.

    Args:
        similarity: any shape; of more than ``limit`` values, a part in even steps.
    """
    values = similarity.flatten()
    values = values[:: math.ceil(len(values) / limit)].sort().values
    # Sorting is exact, deterministic and leaves the host alone, which torch's histograms are not.
    # The inner edges made there: to copy them is to wait for the device.
    inner = torch.arange(1 - BINS, BINS, device=values.device, dtype=values.dtype) / BINS
    below = torch.searchsorted(values, inner)
    return torch.cat([below.new_zeros(1), below, below.new_full((1,), len(values))]).diff()


def pixel_thumbnails(views: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) -> (N, C, 8, 8): what ``pixel_match`` compares."""
    return F.adaptive_avg_pool2d(views.float(), 8)


def pixel_match(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Share of images whose second view is, by raw pixels, nearest to their first: ours.

    1 / N by chance. Where it is high, pixels tell the pairs and no feature has to be learnt.

    Args:
        first, second: thumbnails of two views of the same images, (N, C, 8, 8), N >= 2.
    """
    first, second = first.flatten(1), second.flatten(1)
    mean = torch.cat([first, second]).mean(dim=0)
    similarity = F.normalize(first - mean, dim=1) @ F.normalize(second - mean, dim=1).T
    own = torch.arange(len(first), device=first.device)
    return (similarity.argmax(dim=1) == own).float().mean()


def relative_distance(
    parameters: Iterable[torch.Tensor], reference: Iterable[torch.Tensor]
) -> torch.Tensor:
    """|a - b| / |b| of all parameters as one vector: how far the key encoder is behind.

    Args:
        parameters: of the key encoder. reference: of the query encoder, in the same order.
    """
    reference = list(reference)
    difference = torch._foreach_sub(list(parameters), reference)
    total = torch.nn.utils.get_total_norm
    return total(difference) / total(reference)
