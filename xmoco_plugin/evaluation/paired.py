# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What differences between runs that share their seeds are worth."""

import math
from collections.abc import Sequence

import numpy as np


def paired_interval(
    differences: Sequence[float], share: float = 0.95, resamples: int = 10000
) -> tuple[float, float]:
    """Bootstrap interval of the mean difference: seeds are drawn anew, each with its difference.

    The plain percentile interval of five values holds the truth in some 84 of 100 cases and not in
    95. Its quantiles are therefore moved outwards as Student's interval is, the expanded percentile
    interval (Hesterberg, arXiv 1411.5279, section 5.3). It never leaves the range of the
    differences: with three or fewer it is that range.

    Args:
        differences: One for each seed. With fewer than two there is no spread: (-inf, inf).
        share: Of cases in which the interval shall hold the truth, in (0, 1).
        resamples: How many; the random numbers are always the same.

    Returns:
        Lower and upper end, in the unit of the differences.
    """
    n = len(differences)
    if n < 2:
        return -math.inf, math.inf
    from scipy import stats  # a second of import, which few need

    reach = math.sqrt(n / (n - 1)) * stats.t.ppf((1 - share) / 2, n - 1)
    tail = float(stats.norm.cdf(reach))
    values = np.asarray(differences, dtype=float)
    draws = np.random.default_rng(0).integers(n, size=(resamples, n))
    low, high = np.quantile(values[draws].mean(axis=1), [tail, 1 - tail])
    return float(low), float(high)
