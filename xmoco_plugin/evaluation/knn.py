# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Weighted k-nearest-neighbour votes of unit-norm features (Wu et al., arXiv 1805.01978)."""

import torch

Neighbours = tuple[torch.Tensor, torch.Tensor]


def knn_topk(
    queries: torch.Tensor,
    bank: torch.Tensor,
    k: int,
    bank_chunk: int = 16384,
    query_chunk: int = 1024,
) -> Neighbours:
    """The k bank rows most similar to each query, streaming over chunks of both.

    At most query_chunk * (bank_chunk + 2k) similarities and one float32 copy of a bank chunk exist
    at a time, so the bank may be half precision or memory-mapped. Ties go to the lower bank row,
    whatever the chunks; products that differ only by the rounding of float32 are no ties.

    Args:
        queries: (Q, D), unit norm; the product is then the cosine.
        bank: (M, D), unit norm, any float type, on any device.
        k: 1 <= k <= M.
        bank_chunk: bank rows at a time (ours: 128 MB at D = 2048).
        query_chunk: queries at a time (ours).

    Returns:
        Similarities (Q, k), float32, falling; bank rows (Q, k), int64. On the queries' device.

    Raises:
        ValueError: empty bank, k outside 1..M, other D, rows that are not finite.
    """
    check_features(queries, "queries")
    check_features(bank, "bank")
    check_k(k, len(bank))
    if queries.shape[1] != bank.shape[1]:
        raise ValueError(
            f"queries have {queries.shape[1]} dimensions, the bank has {bank.shape[1]}: "
            "both must come from the same model and layer"
        )
    return stream_topk(queries, bank, k, bank_chunk, query_chunk)


def stream_topk(
    queries: torch.Tensor, bank: torch.Tensor, k: int, bank_chunk: int, query_chunk: int
) -> Neighbours:
    """`knn_topk` on tensors that were checked before: a check reads the whole bank once."""
    if bank_chunk < 1 or query_chunk < 1:
        raise ValueError(f"chunks hold at least one row, not {bank_chunk} and {query_chunk}")
    similarity = queries.new_empty((len(queries), k), dtype=torch.float32)
    rows = queries.new_empty((len(queries), k), dtype=torch.int64)
    # A surrounding autocast would turn the product into half precision.
    with torch.no_grad(), torch.autocast(queries.device.type, enabled=False):
        for start in range(0, len(queries), query_chunk):
            part = queries[start : start + query_chunk].float()  # (q, D)
            best: Neighbours | None = None
            for first in range(0, len(bank), bank_chunk):
                chunk = bank[first : first + bank_chunk].to(part.device, torch.float32)
                found, row = _chunk_topk(part @ chunk.T, min(k, len(chunk)))
                row += first
                if best is not None:
                    found = torch.cat([best[0], found], dim=1)
                    row = torch.cat([best[1], row], dim=1)
                best = merge_topk(found, row, k)
            if best is not None:
                similarity[start : start + query_chunk], rows[start : start + query_chunk] = best
    return similarity, rows


def merge_topk(similarity: torch.Tensor, rows: torch.Tensor, k: int) -> Neighbours:
    """The best k of n candidates per query, falling; equal similarities by rising row.

    Args:
        similarity: (Q, n).
        rows: (Q, n), bank rows, distinct per query.
        k: how many to keep; all of them where n < k.

    Returns:
        Similarities and rows, each (Q, min(k, n)).
    """
    rows, order = rows.sort(dim=1)
    similarity, order = similarity.gather(1, order).sort(dim=1, descending=True, stable=True)
    return similarity[:, :k], rows.gather(1, order)[:, :k]


def _chunk_topk(similarity: torch.Tensor, k: int) -> Neighbours:
    """`torch.topk` along dim 1 that takes the first columns where a tie crosses the k-th place."""
    values, columns = similarity.topk(k, dim=1)
    last = values[:, -1:]
    torn = (similarity == last).sum(dim=1) > (values == last).sum(dim=1)  # (Q,)
    if torn.any():
        ordered = similarity[torn].sort(dim=1, descending=True, stable=True)
        values[torn], columns[torn] = ordered.values[:, :k], ordered.indices[:, :k]
    return values, columns


def knn_votes(
    similarity: torch.Tensor,
    labels: torch.Tensor,
    num_classes: int,
    temperature: float | None,
) -> torch.Tensor:
    """Each class's share of the neighbours' votes, a vote weighing exp(similarity / temperature).

    One top-k pass serves any smaller k (pass the first k columns) and any temperature.

    Args:
        similarity: (Q, k), cosines in [-1, 1], falling along a row.
        labels: (Q, k), integer, the neighbours' classes in 0..num_classes-1.
        num_classes: C.
        temperature: > 0; 0.07 in the source. ``None`` gives every neighbour one vote.

    Returns:
        (Q, C), float64, >= 0; a row sums to 1 (the source leaves it unnormalised; the order is the
        same).

    Raises:
        ValueError: unequal shapes, no neighbours, labels out of range, temperature <= 0.
    """
    if similarity.shape != labels.shape or similarity.ndim != 2 or similarity.shape[1] == 0:
        raise ValueError(
            f"similarity and labels must both be (Q, k) with k >= 1, not "
            f"{tuple(similarity.shape)} and {tuple(labels.shape)}"
        )
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
        raise ValueError(
            f"labels run from {int(labels.min())} to {int(labels.max())}, "
            f"but {num_classes} classes allow 0 to {num_classes - 1}"
        )
    if temperature is not None and not temperature > 0:
        raise ValueError(f"temperature must be above 0 or None, not {temperature}")
    similarity = similarity.double()
    weights = torch.ones_like(similarity)
    if temperature is not None:
        # The largest weight becomes 1: nothing overflows, however small the temperature.
        weights = ((similarity - similarity.amax(dim=1, keepdim=True)) / temperature).exp()
    votes = similarity.new_zeros((len(similarity), num_classes))
    votes.scatter_add_(1, labels.long(), weights)
    return votes / votes.sum(dim=1, keepdim=True)


def break_vote_ties(votes: torch.Tensor) -> torch.Tensor:
    """Votes as float32 scores in which equal shares order by rising class.

    Metrics rank by `torch.topk`, which promises nothing for ties, and a plain majority has many.

    Args:
        votes: (Q, C), >= 0; unchanged.

    Returns:
        (Q, C), float32: the r-th class of a tie (r = 0, 1, ...) is smaller by r rounding steps.
    """
    values, order = votes.float().sort(dim=1, descending=True, stable=True)
    place = torch.arange(values.shape[1], device=values.device).expand_as(values)
    starts = torch.ones_like(values, dtype=torch.bool)
    starts[:, 1:] = values[:, 1:] != values[:, :-1]
    run_start = torch.where(starts, place, torch.zeros_like(place)).cummax(dim=1).values
    step = torch.finfo(torch.float32).eps
    values = values * (1 - (place - run_start) * step)
    return torch.empty_like(values).scatter_(1, order, values)


def largest_class_share(labels: torch.Tensor) -> float:
    """Percent of the images that the most frequent class holds: what a constant answer scores.

    Args:
        labels: (N,), integer >= 0, N >= 1.
    """
    if len(labels) == 0:
        raise ValueError("no labels: the set is empty")
    return 100.0 * int(torch.bincount(labels).max()) / len(labels)


def check_features(features: torch.Tensor, name: str) -> None:
    """Raises ValueError, with the numbers, unless the features are (rows, D), some and finite."""
    if features.ndim != 2:
        raise ValueError(f"{name}: features must be (rows, D), not {tuple(features.shape)}")
    if name == "bank" and len(features) == 0:
        raise ValueError("the bank is empty: no image to compare with")
    check_finite_rows(count_bad_rows(features), len(features), name)


def check_finite_rows(bad: int, rows: int, name: str) -> None:
    """Raises ValueError if any of the rows is not finite."""
    if bad:
        raise ValueError(
            f"{name}: {bad} of {rows} feature rows hold NaN or infinity: "
            "the weights have diverged, or the images are broken; go back to an earlier checkpoint"
        )


def check_k(k: int, rows: int) -> None:
    """Raises ValueError unless 1 <= k <= rows."""
    if rows == 0:
        raise ValueError("the bank is empty: no image to compare with")
    if not 1 <= k <= rows:
        raise ValueError(
            f"k = {k} neighbours, but the bank has {rows} images: choose k from 1 to {rows}"
        )


def count_bad_rows(features: torch.Tensor, chunk: int = 16384) -> int:
    """Rows of (rows, D) that hold a NaN or an infinity."""
    parts = (features[i : i + chunk] for i in range(0, len(features), chunk))
    return sum(int((~part.isfinite().all(dim=1)).sum()) for part in parts)
