# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How the similarities of positive and negative pairs are distributed, and how that moved."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .figure import Figure, Table
from .svg import add_bar, add_legend, line_style, new_axes, to_svg, whole_numbers
from .work_dir import WorkDir

MOST = 1e15  # pairs in a histogram: more are no count
KINDS = {"hist_pos": "positive pairs", "hist_neg": "negative pairs"}


class Histograms(NamedTuple):
    """Of one kind of pairs over time."""

    edges: np.ndarray  # (B + 1,), cosines
    epochs: np.ndarray  # (E,)
    density: np.ndarray  # (E, B), each row integrates to 1


def histogram_figures(run: WorkDir, number: int) -> list[Figure]:
    """The last epoch's distributions, then each kind's over all epochs."""
    found = {kind: read for kind in KINDS if (read := read_histograms(run, kind)) is not None}
    if not found:
        return []
    return [_last(run, number, found), *(_over_time(run, number, k, h) for k, h in found.items())]


def read_histograms(run: WorkDir, kind: str) -> Histograms | None:
    """A kind's histograms, leaving out entries that are damaged; None where no epoch has one."""
    edges, epochs, rows = None, [], []
    for entry in run.health:
        histogram: Any = entry.get(kind)
        try:
            own = np.array(histogram["edges"], dtype=np.float64)
            counts = np.array(histogram["counts"], dtype=np.float64)
        except (KeyError, TypeError, ValueError, OverflowError):
            continue
        shaped = own.ndim == 1 and len(own) > 1 and counts.shape == (len(own) - 1,)
        fits = shaped and bool(
            np.isfinite(own).all()
            and (np.diff(own) > 0).all()
            and (counts >= 0).all()
            and 0 < counts.sum() < MOST
        )
        if not fits or (edges is not None and not np.array_equal(own, edges)):
            continue
        edges = own
        epochs.append(float(entry["epoch"]))
        rows.append(counts / counts.sum() / np.diff(own))
    return None if edges is None else Histograms(edges, np.array(epochs), np.array(rows))


def _last(run: WorkDir, number: int, found: dict[str, Histograms]) -> Figure:
    figure, axes = new_axes()
    rows: list[list[str]] = []
    for i, (kind, (edges, _, density)) in enumerate(found.items()):
        style = {key: line_style(i)[key] for key in ("color", "linestyle", "linewidth")}
        axes.stairs(density[-1], edges, label=KINDS[kind], **style)
        rows += [
            [KINDS[kind], f"{a:.2f}", f"{b:.2f}", f"{value:.3g}"]
            for (a, b), value in zip(pairwise(edges), density[-1], strict=True)
            if value
        ]
    axes.set_xlim(-1, 1)
    axes.set_xlabel("similarity (cosine)")
    axes.set_ylabel("density (1 / cosine)")
    add_legend(figure, axes)
    epoch = max(histograms.epochs[-1] for histograms in found.values())
    name, title = f"histogram-{number}", f"{run.name}: similarities at epoch {epoch:g}"
    caption = "The less the two overlap, the better an image's own key is told from the others'."
    table = Table(["pairs", "from", "to", "density"], rows)
    return Figure(name, title, to_svg(figure, name, f"{title}. {caption}"), caption, table)


def _over_time(run: WorkDir, number: int, kind: str, histograms: Histograms) -> Figure:
    edges, epochs, density = histograms
    figure, axes = new_axes()
    # The root keeps the tails visible beside the peak.
    mesh = axes.pcolormesh(
        _sides(epochs), edges, np.sqrt(density.T), cmap="Blues", vmin=0, rasterized=True
    )
    axes.set_ylim(-1, 1)
    axes.set_xlabel("epoch")
    axes.set_ylabel("similarity (cosine)")
    whole_numbers(axes)
    add_bar(figure, mesh, axes, "√density")
    name = f"histogram-{number}-{kind.removeprefix('hist_')}"
    title = f"{run.name}: {KINDS[kind]} over time"
    means = density @ ((edges[1:] + edges[:-1]) / 2 * np.diff(edges))
    caption = (
        f"A column is one epoch's histogram; darker is more pairs. Mean {means[0]:.2f} at epoch "
        f"{epochs[0]:g}, {means[-1]:.2f} at epoch {epochs[-1]:g}."
    )
    table = Table(
        ["epoch", "mean cosine of the histogram"],
        [[f"{e:g}", f"{m:.3f}"] for e, m in zip(epochs, means, strict=True)],
    )
    return Figure(name, title, to_svg(figure, name, f"{title}. {caption}"), caption, table)


def _sides(epochs: np.ndarray) -> np.ndarray:
    """Edges (E + 1,) of columns that reach half way to their neighbours."""
    if len(epochs) == 1:
        return np.array([epochs[0] - 0.5, epochs[0] + 0.5])
    between = (epochs[1:] + epochs[:-1]) / 2
    return np.array([2 * epochs[0] - between[0], *between, 2 * epochs[-1] - between[-1]])
