# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..checkpoint import write_text


@dataclass
class RunRecord:
    """What a run remembers of itself, kept in ``summary.json`` so that it survives a resume.

    Attributes:
        unit: of the x values below: 'epoch' or 'iteration'.
        metric: name of the accuracy that is followed.
        knn_before, knn_after: that accuracy before and after training, percent.
        queries: number of validation images that these shares are of.
        raw_pixels: the same kNN on raw pixels, percent.
        largest_class: share of the largest class among the validation images, percent.
        losses: [x, mean value] points by loss term.
        accuracy: [x, percent] points.
        similarity: means of the similarity map, 'before' and 'after'.
        verdict: the last of :class:`HealthHook`, with its reason.
        seconds: spent so far, over all parts of the run.
        files: where checkpoint, log and picture lie.
    """

    unit: str = "epoch"
    metric: str | None = None
    knn_before: float | None = None
    knn_after: float | None = None
    queries: int | None = None
    raw_pixels: float | None = None
    largest_class: float | None = None
    losses: dict[str, list[list[float]]] = field(default_factory=dict)
    accuracy: list[list[float]] = field(default_factory=list)
    similarity: dict[str, dict[str, float]] = field(default_factory=dict)
    verdict: str | None = None
    seconds: float = 0.0
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "RunRecord | None":
        """What an earlier part of the run wrote, or None where nothing readable is there."""
        try:
            stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return cls(**stored)
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Store it, whole or not at all."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False)
        write_text(path, text)

    def percent(self, value: float | None) -> str:
        """A share of the queries with its standard error in points, sqrt(p (1 - p) / queries).

        It is that of other queries drawn from the same images, not of other seeds. Metrics that
        are no accuracy get none.
        """
        if value is None:
            return "not measured"
        if not self.queries or "accuracy" not in (self.metric or "") or not 0 <= value <= 100:
            return f"{value:.1f} %"
        error = math.sqrt(value * (100 - value) / self.queries)
        return f"{value:.1f} % ± {error:.1f} ({self.queries:,} queries)"

    def forget_after(self, x: float) -> None:
        """Drop the points of iterations that a resumed run does once more."""
        self.accuracy = [p for p in self.accuracy if p[0] <= x]
        self.losses = {t: [p for p in points if p[0] <= x] for t, points in self.losses.items()}
