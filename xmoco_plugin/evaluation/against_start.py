# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Is a checkpoint better than what the run began with? Two accuracies on the same queries."""

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FALLEN = 2  # standard errors below the start at which a run has become worse
ROUNDING = 1e-6  # points; the smallest true difference is 100 / queries


@dataclass(frozen=True)
class Answers:
    """What kNN made of the queries.

    Attributes:
        percent: Answered rightly.
        queries: How many there are.
        hits: (queries,) bool, which of them were right, in the order of the set; None where only
            the share is known.
    """

    percent: float
    queries: int
    hits: np.ndarray | None = None

    @property
    def packed(self) -> str:
        """The hits as text, 8 to a byte; empty where they are not known."""
        if self.hits is None:
            return ""
        return base64.b64encode(np.packbits(self.hits).tobytes()).decode()

    @classmethod
    def of(cls, percent: float, queries: int, packed: object = "") -> "Answers":
        """From what :attr:`packed` made; hits that do not fit the number of queries are dropped."""
        hits = None
        if isinstance(packed, str) and packed:
            try:
                raw = np.frombuffer(base64.b64decode(packed, validate=True), dtype=np.uint8)
            except (binascii.Error, ValueError):
                raw = np.zeros(0, dtype=np.uint8)
            if len(raw) == (queries + 7) // 8:
                hits = np.unpackbits(raw, count=queries).astype(bool)
        return cls(percent, queries, hits)


@dataclass(frozen=True)
class Change:
    """A difference of two accuracies.

    Attributes:
        before, now: Percent.
        error: Its standard error in points.
        queries: That both are of.
    """

    before: float
    now: float
    error: float
    queries: int

    @property
    def points(self) -> float:
        """Percentage points won; lost where negative."""
        return self.now - self.before

    @property
    def has_fallen(self) -> bool:
        """Whether more is lost than :data:`FALLEN` standard errors."""
        return bool(-self.points > FALLEN * self.error + ROUNDING)

    def __str__(self) -> str:
        return f"{self.points:+.1f} ± {self.error:.1f} points ({self.queries:,} queries)"


def change(before: Answers, now: Answers) -> Change:
    """The difference of two accuracies with its standard error.

    On the same queries only those count that one answers rightly and the other does not. Of b
    lost and c won ones the difference is (c - b) / n, and its error, if both happen alike,
    sqrt(b + c) / n (McNemar 1947). Where it is not known which were right, the error is that of
    independent queries, sqrt((p (1 - p) + q (1 - q)) / n), which is larger.
    """
    n = max(now.queries, 1)
    if before.hits is not None and now.hits is not None and before.queries == now.queries:
        unlike = int(np.not_equal(before.hits, now.hits).sum())
        return Change(before.percent, now.percent, 100 * math.sqrt(unlike) / n, n)
    shares = [min(max(a.percent / 100, 0.0), 1.0) for a in (before, now)]
    variances = (
        p * (1 - p) / max(a.queries, 1) for p, a in zip(shares, (before, now), strict=True)
    )
    return Change(before.percent, now.percent, 100 * math.sqrt(sum(variances)), n)


def is_fit(now: Change, pretrained: bool) -> bool:
    """Whether a checkpoint may be handed over in the place of the start.

    Who says that good weights have become better must show it: by more than one standard error.
    Random weights are kept only where every checkpoint is worse by more than one.
    """
    if pretrained:
        return bool(now.points > now.error + ROUNDING)
    return bool(now.points >= -now.error - ROUNDING)


def hits_of(parts: Sequence[Sequence[bool]], queries: int) -> np.ndarray:
    """Hits in the order of the set, from those of each process.

    Args:
        parts: Of process r of n, images r, r + n, ...; padded by a repeated one at the end.
        queries: Of the set.

    Returns:
        (queries,) bool.
    """
    longest = max(len(part) for part in parts)
    table = np.zeros((longest, len(parts)), dtype=bool)
    for rank, part in enumerate(parts):
        table[: len(part), rank] = part
    return table.flatten()[:queries]
