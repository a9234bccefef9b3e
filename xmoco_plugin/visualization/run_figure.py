# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One picture of a run: its training curve beside its similarity maps before and after."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .similarity_map import draw_similarity

# Okabe and Ito's colours, told apart by colour-blind readers; markers tell the lines apart as well.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")
Points = Sequence[Sequence[float]]


@dataclass
class RunCurves:
    """What a run's figure shows.

    Attributes:
        losses: (x, value) points of each loss term, weighted as in the total.
        accuracy: (x, percent) points of the kNN accuracy.
        levels: percent of what needs no training, by name, drawn as horizontal lines.
        unit: of x, 'epoch' or 'iteration'.
        maps: (N, N) similarity maps by title, in the order in which they are drawn.
        labels: classes of the maps' rows, or None.
    """

    losses: Mapping[str, Points] = field(default_factory=dict)
    accuracy: Points = ()
    levels: Mapping[str, float] = field(default_factory=dict)
    unit: str = "epoch"
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: Sequence[int] | None = None


def run_figure(run: RunCurves, title: str = "") -> Figure:
    """Draw the figure; touches no global state of matplotlib."""
    columns = 1 + len(run.maps)
    figure = Figure(figsize=(5.2 + 4.2 * len(run.maps), 5.4), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, columns, width_ratios=[1.35] + [1.0] * len(run.maps))
    lower: Axes | None = None
    if run.accuracy:
        lower = figure.add_subplot(grid[1, 0])
        _draw_accuracy(lower, run)
    upper = figure.add_subplot(grid[0, 0] if lower else grid[:, 0], sharex=lower)
    _draw_losses(upper, run)
    if lower:
        upper.tick_params(labelbottom=False)
        upper.set_xlabel("")
    axes = [figure.add_subplot(grid[:, i]) for i in range(1, columns)]
    image = None
    for ax, (name, values) in zip(axes, run.maps.items(), strict=True):
        image = draw_similarity(ax, values, run.labels, name)
    if image is not None:
        bar = figure.colorbar(image, ax=axes, shrink=0.6, pad=0.02)
        bar.set_label("cross-similarity S$_{ij}$ (cosine)", fontsize=8)
        bar.ax.tick_params(labelsize=7)
        size = len(next(iter(run.maps.values())))
        order = (
            f", sorted by {len(set(run.labels))} classes (lines)" if run.labels is not None else ""
        )
        figure.supxlabel(
            f"Maps: two random views of the same {size} training images{order}; "
            "the diagonal holds the positive pairs.",
            fontsize=8,
        )
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def save_run_figure(run: RunCurves, file: str | BinaryIO, title: str = "") -> None:
    """Write the figure as a PNG."""
    run_figure(run, title).savefig(file, format="png")


def _draw_losses(axes: Axes, run: RunCurves) -> None:
    shown = {name: np.asarray(points, dtype=float) for name, points in run.losses.items() if points}
    for i, (name, points) in enumerate(sorted(shown.items())):
        last = f"{name}: {points[-1, 1]:.3g} at the end"
        axes.plot(
            points[:, 0],
            points[:, 1],
            color=COLOURS[i % 6],
            marker=MARKERS[i % 6],
            markevery=max(1, len(points) // 8),
            markersize=4,
            linewidth=1.3,
            label=last,
        )
    values = np.concatenate([p[:, 1] for p in shown.values()]) if shown else np.zeros(1)
    positive = values[values > 0]
    # Terms a factor of 20 apart would leave the smaller ones a line on the floor.
    if len(positive) and positive.max() > 20 * positive.min():
        axes.set_yscale("log")
    axes.set_xlabel(run.unit, fontsize=8)
    axes.set_ylabel("loss term, weighted", fontsize=8)
    axes.set_title("Loss terms", fontsize=10)
    tidy(axes)
    if shown:
        axes.legend(fontsize=7, loc="best", framealpha=0.9)


def _draw_accuracy(axes: Axes, run: RunCurves) -> None:
    points = np.asarray(run.accuracy, dtype=float)
    axes.plot(
        points[:, 0],
        points[:, 1],
        color=COLOURS[0],
        marker="o",
        markersize=4,
        linewidth=1.3,
        label=f"kNN: {points[-1, 1]:.1f} % at the end",
    )
    for i, (name, level) in enumerate(run.levels.items()):
        axes.axhline(
            level,
            color=COLOURS[1 + i],
            linestyle=("--", ":")[i % 2],
            linewidth=1.3,
            label=f"{name}: {level:.1f} %",
        )
    axes.set_ylim(0, 100)
    axes.set_xlabel(run.unit, fontsize=8)
    axes.set_ylabel("accuracy (%)", fontsize=8)
    axes.set_title("kNN accuracy on the validation images", fontsize=10)
    tidy(axes)
    axes.legend(fontsize=7)


def tidy(axes: Axes) -> None:
    """Small ticks, a faint grid, no frame at the top and right."""
    axes.tick_params(labelsize=7)
    axes.grid(True, linewidth=0.3, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
