# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..checkpoint import write_atomic


@dataclass
class RunRecord:
    """What a run remembers of itself, kept in ``summary.json`` so that it survives a resume.

    Attributes:
        unit: of the x values below: 'epoch' or 'iteration'.
        metric: name of the accuracy that is followed.
        knn_before, knn_after: that accuracy before and after training, percent.
        raw_pixels: the same kNN on raw pixels, percent.
        largest_class: share of the largest class among the validation images, percent.
        losses: [x, mean value] points by loss term.
        accuracy: [x, percent] points.
        similarity: means of the similarity map, 'before' and 'after'.
        seconds: spent so far, over all parts of the run.
        files: where checkpoint, log and picture lie.
    """

    unit: str = "epoch"
    metric: str | None = None
    knn_before: float | None = None
    knn_after: float | None = None
    raw_pixels: float | None = None
    largest_class: float | None = None
    losses: dict[str, list[list[float]]] = field(default_factory=dict)
    accuracy: list[list[float]] = field(default_factory=list)
    similarity: dict[str, dict[str, float]] = field(default_factory=dict)
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
        write_atomic(text.encode("utf-8"), path, save=lambda data, file: file.write(data))

    def forget_after(self, x: float) -> None:
        """Drop the points of iterations that a resumed run does once more."""
        self.accuracy = [p for p in self.accuracy if p[0] <= x]
        self.losses = {t: [p for p in points if p[0] <= x] for t, points in self.losses.items()}
