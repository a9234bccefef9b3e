# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Divergences of each row of similarities from its teacher's, and the rows' weights."""

import math

import torch

from .queue_softmax import QueuePass


def row_weights(entropy: torch.Tensor, count: int, confidence: bool) -> torch.Tensor | float:
    """1 - H / log M of each row (n,), within roundings; of a single pair nothing is uncertain."""
    if not confidence or count < 2:
        return 1.0
    return (1 - entropy.detach() / math.log(count)).clamp(0, 1)


def rows_with_own(
    q: torch.Tensor,
    k: torch.Tensor,
    student: torch.Tensor,
    log_r: torch.Tensor,
    own: torch.Tensor | None,
    temperature: float,
    share: float,
) -> torch.Tensor:
    """KL (n,) to the teacher that has `share` at the own key and R, scaled, at the others."""
    r = log_r.exp()
    if own is None:
        first = (q * k).sum(dim=1, keepdim=True)  # (n, 1)
        log_p = (torch.cat([first, student], dim=1) / temperature).log_softmax(dim=1)
        log_own, log_p = log_p[:, 0], log_p[:, 1:]
    else:
        log_p = (student / temperature).log_softmax(dim=1)  # (n, N)
        log_own = log_p.masked_fill(~own, 0.0).sum(dim=1)
        r = r.masked_fill(own, 0.0)
    others = (r * (log_r - log_p)).sum(dim=1)
    return _negative_entropy(share) - share * log_own + (1 - share) * others


def rows_in_chunks(
    q: torch.Tensor,
    k: torch.Tensor,
    queue_pass: QueuePass,
    divergence: str,
    tau: float,
    tau_r: float,
    share: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Divergence and the teacher's entropy of each row, (n,), from sums over the keys.

    The logits are linear in the keys, so that sum_m R_m l_m is a product with the mean key. Without
    a share of the own key, that key is in no row.
    """
    log_total_p, mean_p = queue_pass.of("q", tau)
    log_total_r, mean_r = queue_pass.of("k", tau_r)
    x, y = q / tau, k / tau_r
    entropy = log_total_r - (y * mean_r).sum(dim=1)
    if share is not None:
        own = (x * k).sum(dim=1)
        taught = share * own + (1 - share) * (x * mean_r).sum(dim=1)
        row = torch.logaddexp(own, log_total_p) - taught
        return _negative_entropy(share) - (1 - share) * entropy + row, entropy
    if divergence == "kl":
        return log_total_p - (x * mean_r).sum(dim=1) - entropy, entropy
    return ((x - y) * (mean_p - mean_r)).sum(dim=1) / 2, entropy


def _negative_entropy(share: float) -> float:
    """s log s + (1 - s) log(1 - s)."""
    return sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
