# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..checkpoint import write_text
from ..untrusted import FileRefusedError, read_json_object


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
        handed_over: which weights were handed over and why, of :class:`BestExportHook`.
        figures: the backbone's without labels, at the start and at the end.
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
    handed_over: str | None = None
    figures: str | None = None
    seconds: float = 0.0
    files: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "RunRecord | None":
        """What an earlier part of the run wrote, or None where nothing readable is there."""
        try:
            stored = read_json_object(path)
        except FileRefusedError:
            return None
        fits = stored.keys() <= KINDS.keys() and all(KINDS[k](v) for k, v in stored.items())
        return cls(**stored) if fits else None

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


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_name(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_share(value: object) -> bool:
    return value is None or _is_number(value)


def _are_points(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(point, list) and len(point) == 2 and all(map(_is_number, point))
        for point in value
    )


# What a file that may be anybody's must hold to be taken up.
KINDS: dict[str, Callable[[Any], bool]] = dict(
    unit=lambda value: value in ("epoch", "iteration"),
    metric=_is_name,
    knn_before=_is_share,
    knn_after=_is_share,
    queries=_is_share,
    raw_pixels=_is_share,
    largest_class=_is_share,
    losses=lambda value: isinstance(value, dict) and all(map(_are_points, value.values())),
    accuracy=_are_points,
    similarity=lambda value: isinstance(value, dict),
    verdict=_is_name,
    handed_over=_is_name,
    figures=_is_name,
    seconds=_is_number,
    files=lambda value: isinstance(value, dict) and all(map(_is_name, value.values())),
)
