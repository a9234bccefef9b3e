# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The cross-similarity of one fixed batch at start, middle and end, and its asymmetry."""

from dataclasses import dataclass, field

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MplFigure
from matplotlib.image import AxesImage

from ...checkpoint import CheckpointError
from ..fixed_views import choose_images, fixed_views
from ..similarity_map import (
    asymmetry,
    describe_similarity,
    draw_class_lines,
    draw_similarity,
    two_view_similarity,
)
from .figure import Figure, Table
from .network import Network
from .svg import add_bar, new_axes, to_svg
from .work_dir import WorkDir

IMAGES = 64  # RunSummaryHook's default: its map from before training is then of the same batch
SEED = 0


@dataclass
class SimilarityMaps:
    """Maps (N, N) of a run by when they were taken, and the classes of their rows, or []."""

    maps: dict[str, np.ndarray] = field(default_factory=dict)
    labels: list[int] = field(default_factory=list)

    @property
    def largest_asymmetry(self) -> float:
        """Of all of them, so that the colours of several runs can mean the same."""
        return max((float(np.abs(m - m.T).max()) for m in self.maps.values()), default=0.0)


def collect_maps(run: WorkDir, network: Network) -> SimilarityMaps:
    """Start, middle and end of a run, from its checkpoints and what its summary hook recorded.

    Notes in ``run.missing`` what is not to be had.
    """
    indices, labels = choose_images(network.train.dataset, IMAGES)
    found = SimilarityMaps(labels=labels)
    recorded = run.maps.get("before")
    chosen = moments(list(run.checkpoints))
    if (
        recorded is not None
        and recorded.shape == (len(indices),) * 2
        and np.array_equal(run.maps.get("labels", []), labels)
    ):
        found.maps["start (before training, as recorded)"] = recorded
        chosen = {when: n for when, n in chosen.items() if when != "start"}
    elif chosen and min(chosen.values()) > 0:
        run.missing.append(
            f"A similarity map from before training: the earliest checkpoint is that of {run.unit} "
            f"{min(chosen.values())}. RunSummaryHook records one; CheckpointHook's max_keep_ckpts "
            "deletes early checkpoints."
        )
    for when, number in chosen.items():
        try:
            model = network.model(run.checkpoints[number])
        except CheckpointError as error:  # the other checkpoints have maps all the same
            run.missing.append(f"The similarity map of {run.unit} {number}: {error}")
            continue
        views = fixed_views(network.train, model, indices, SEED)
        if views is None or not hasattr(model, "backbone"):
            run.missing.append("Similarity maps: the training pipeline makes no views.")
            break
        similarity = two_view_similarity(model, views).numpy()
        if np.isfinite(similarity).all():
            found.maps[f"{when} ({run.unit} {number})"] = similarity
        else:
            run.missing.append(
                f"The similarity map of {run.unit} {number}: its embedding holds NaN or infinity: "
                "the weights have diverged."
            )
    if "middle" not in chosen and found.maps:
        run.missing.append("A similarity map of the middle: no checkpoint lies between the ends.")
    return found


def map_figures(
    run: WorkDir, number: int, found: SimilarityMaps, largest_asymmetry: float
) -> list[Figure]:
    """For each moment S above |S - S^T|, the latter on one scale for all runs."""
    figures = []
    for i, (when, values) in enumerate(found.maps.items()):
        similarity = torch.from_numpy(np.asarray(values, dtype=np.float32))
        numbers = describe_similarity(similarity)
        name, title = f"map-{number}-{i}", f"{run.name}: {when}"
        caption = (
            f"Above S: {numbers['positive']:.2f} on the diagonal (positive pairs), "
            f"{numbers['negative']:.2f} off it, in the mean. Below |S − Sᵀ|: "
            f"{numbers['asymmetry']:.3f} in the mean; 0 is full consistency."
        )
        table = Table(
            ["pairs", "value"],
            [
                ["positive, mean cosine", f"{numbers['positive']:.4f}"],
                ["negative, mean cosine", f"{numbers['negative']:.4f}"],
                ["negative, mean |S − Sᵀ|", f"{numbers['asymmetry']:.4f}"],
                *_by_class(values, found.labels),
            ],
        )
        upper, axes = new_axes(height=2.8)
        image = draw_similarity(axes, values, found.labels or None, "")
        axes.set_xlabel("key j (second view)")
        _finish(upper, axes, image, "S (cosine)")
        lower, axes = new_axes(height=2.8)
        image = axes.imshow(asymmetry(similarity), "Oranges", vmin=0, vmax=largest_asymmetry or 1)
        draw_class_lines(axes, found.labels)
        axes.set(xlabel="image j", ylabel="image i")
        _finish(lower, axes, image, "|S − Sᵀ| (cosine)")
        body = to_svg(upper, f"{name}-s", f"S, {title}") + to_svg(
            lower, f"{name}-a", f"|S − Sᵀ|, {title}"
        )
        figures.append(Figure(name, title, body, caption, table))
    return figures


def _finish(figure: MplFigure, axes: Axes, image: AxesImage, unit: str) -> None:
    image.set_interpolation("none")
    axes.spines[:].set_visible(False)
    add_bar(figure, image, axes, unit)


def moments(numbers: list[int]) -> dict[str, int]:
    """Of rising epochs the first, that nearest the middle, and the last, where they differ."""
    if not numbers:
        return {}
    first, last = numbers[0], numbers[-1]
    between = [n for n in numbers if first < n < last]
    moments = {"start": first} if first < last else {}
    if between:
        moments["middle"] = min(between, key=lambda n: abs(n - (first + last) / 2))
    return moments | {"end": last}


def _by_class(values: np.ndarray, labels: list[int]) -> list[list[str]]:
    """Mean cosine of negative pairs within one class and of those of two classes."""
    if len(set(labels)) < 2:
        return []
    classes = np.asarray(labels)
    same = classes[:, None] == classes[None, :]
    off = ~np.eye(len(classes), dtype=bool)
    return [
        ["negative of one class, mean cosine", f"{values[same & off].mean():.4f}"],
        ["negative of two classes, mean cosine", f"{values[~same].mean():.4f}"],
    ]
