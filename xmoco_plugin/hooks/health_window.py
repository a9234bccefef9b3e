# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections import defaultdict
from typing import Any

import torch
from mmengine.dist import all_reduce

from ..evaluation.diagnostics import HISTOGRAM_EDGES, effective_rank, uninformed_nce
from ..evaluation.step_health import StepHealth


class HealthWindow:
    """Means of what several looks saw: on the device since the last reading, on the host before.

    Attributes:
        looks: since the last reading.
    """

    def __init__(self) -> None:
        self.looks = 0
        self._last = StepHealth()
        self._sums: dict[str, torch.Tensor] = {}
        self._histograms: torch.Tensor | None = None
        self._totals: dict[str, float] = defaultdict(float)  # over the pass, on the host
        self._weights: dict[str, int] = defaultdict(int)

    def add(self, step: StepHealth) -> None:
        """Take in one look; nothing is read from the device."""
        for name, value in step.values.items():
            self._sums[name] = self._sums.get(name, 0) + value
        if step.histograms is not None:
            before = self._histograms
            self._histograms = step.histograms if before is None else before + step.histograms
        self._last, self.looks = step, self.looks + 1

    def read(self) -> dict[str, float]:
        """Means since the last reading, over the processes too; collective, waits for the device.

        The effective rank is that of the last look alone.
        """
        names = sorted(self._sums)
        values: dict[str, float] = {}
        if names:
            means = torch.stack([self._sums[name].float() for name in names]) / self.looks
            all_reduce(means, op="mean")
            values = dict(zip(names, means.tolist(), strict=True))
        if self._last.embeddings is not None:
            values["effective_rank"] = float(effective_rank(self._last.embeddings))
        if "nce_ratio" in values:
            values["nce_uninformed"] = uninformed_nce(self._last.negatives)
        self.note(values, self.looks)
        self._sums, self._last, self.looks = {}, StepHealth(), 0
        return values

    def note(self, values: dict[str, float], weight: int = 1) -> None:
        """Add values that were read elsewhere to the means of the pass."""
        for name, value in values.items():
            self._totals[name] += value * weight
            self._weights[name] += weight

    def end_pass(self) -> tuple[dict[str, float], dict[str, dict[str, list]]]:
        """Means of the pass and its histograms; a new one begins. Collective."""
        values = {name: self._totals[name] / self._weights[name] for name in self._totals}
        histograms = {}
        if self._histograms is not None:
            all_reduce(self._histograms)
            edges = [round(edge, 2) for edge in HISTOGRAM_EDGES.tolist()]
            counts = self._histograms.tolist()
            histograms = {
                name: {"edges": edges, "counts": row}
                for name, row in zip(("hist_pos", "hist_neg"), counts, strict=True)
            }
        self._totals.clear()
        self._weights.clear()
        self._histograms = None
        return values, histograms

    def state(self) -> dict[str, Any]:
        """What a checkpoint in the middle of a pass keeps, on the CPU; not collective."""
        last = self._last
        return dict(
            looks=self.looks,
            sums={name: value.cpu() for name, value in self._sums.items()},
            embeddings=None if last.embeddings is None else last.embeddings.cpu(),
            negatives=last.negatives,
            histograms=None if self._histograms is None else self._histograms.cpu(),
            totals=dict(self._totals),
            weights=dict(self._weights),
        )

    def load(self, state: dict[str, Any], device: torch.device) -> None:
        """Go on from a :meth:`state`."""
        self.looks = state["looks"]
        self._sums = {name: value.to(device) for name, value in state["sums"].items()}
        there = {n: v for n in ("embeddings", "histograms") if (v := state[n]) is not None}
        there = {name: value.to(device) for name, value in there.items()}
        self._last = StepHealth(
            embeddings=there.get("embeddings"), negatives=int(state["negatives"])
        )
        self._histograms = there.get("histograms")
        self._totals.update(state["totals"])
        self._weights.update(state["weights"])
