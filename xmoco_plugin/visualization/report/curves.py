# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Curves over training, one chart a quantity, one line a run."""

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from .figure import Figure, Section, Table
from .scalars import Points
from .svg import add_legend, line_style, new_axes, to_svg, whole_numbers
from .work_dir import WorkDir

TABLE_ROWS = 25
MAX_METRICS = 12
# Of health.jsonl: title, unit, and how to read it.
HEALTH = {
    "pos_sim_mean": (
        "Similarity of positive pairs",
        "cosine, mean ± std",
        "Two views of one image. Rises while it learns; near 1 together with the negatives' it has "
        "collapsed.",
    ),
    "neg_sim_mean": (
        "Similarity of negative pairs",
        "cosine, mean ± std",
        "Different images. Stays near 0 where the embedding uses its room.",
    ),
    "nce_ratio": (
        "InfoNCE, share of its uninformed value",
        "ratio",
        "1 is what a network scores that knows nothing, log(1 + K) for K negatives; below 1 it has "
        "learnt something.",
    ),
    "dim_std": (
        "Spread per dimension",
        "standard deviation",
        "Mean over the embedding's dimensions; 1/√D for vectors spread evenly, 0 when all are one.",
    ),
    "effective_rank": (
        "Effective rank of the embedding",
        "dimensions (RankMe)",
        "How many directions are in use; 1 is a collapse to a line.",
    ),
    "alignment": (
        "Alignment",
        "mean squared distance",
        "Of two views of one image; lower is closer.",
    ),
    "uniformity_wi": (
        "Hypersphere uniformity",
        "log mean exp(-2 d²)",
        "Of Wang and Isola; lower is more evenly spread.",
    ),
    "asymmetry": (
        "Asymmetry of the cross-similarity",
        "mean |S − Sᵀ|, cosine",
        "What the consistency term makes small.",
    ),
    "neg_entropy": (
        "Entropy of the negatives' distribution",
        "as logged",
        "High where similarity is spread evenly over the negatives.",
    ),
    "queue_fill": ("Queue filled", "share", "1 when every slot holds a real key."),
    "queue_age_steps": (
        "Age of the queue's keys",
        "optimizer steps",
        "How old a key gets before it is replaced.",
    ),
    "ema_distance": (
        "Distance of the key encoder",
        "as logged",
        "How far the key encoder lags behind the query encoder.",
    ),
    "grad_norm": ("Gradient norm", "L2 norm", "Of all parameters together."),
}
SPREAD = {"pos_sim_mean": "pos_sim_std", "neg_sim_mean": "neg_sim_std"}


def loss_section(runs: Sequence[WorkDir]) -> Section:
    """The total and every term of it, weighted as in the total, and the learning rate."""
    section = Section(
        "losses",
        "Loss terms",
        "Weighted, as they are summed. A contrastive loss may rise while the network learns: the "
        "queue's keys get harder. Judge by kNN.",
    )
    names = {name for run in runs for name in run.train if "loss" in name}
    for name in sorted(names, key=lambda name: (name != "loss", name)):
        title = "Total loss" if name == "loss" else name
        lines = {run.name: _scaled(run, run.train.get(name, [])) for run in runs}
        section.figures.append(chart(name, title, "loss", lines, runs))
    rates = {run.name: _scaled(run, run.train.get("lr", [])) for run in runs}
    if any(rates.values()):
        section.figures.append(chart("lr", "Learning rate", "learning rate", rates, runs))
    return section


def knn_section(runs: Sequence[WorkDir]) -> Section:
    """Every metric of the validations, against what needs no training."""
    section = Section(
        "knn",
        "Accuracy while training",
        "Of the frozen backbone at each validation; the one curve here that says what was learnt.",
    )
    names = sorted({name for run in runs for name in run.metrics})
    for name in names[:MAX_METRICS]:
        lines = {run.name: run.metrics.get(name, []) for run in runs}
        levels = {}
        if name in {run.summary.get("metric") for run in runs}:
            for key, label in (("raw_pixels", "raw pixels"), ("largest_class", "largest class")):
                found = next((run.summary[key] for run in runs if run.summary.get(key)), None)
                if isinstance(found, int | float):
                    levels[label] = float(found)
        unit = "%" if "/" in name or "accuracy" in name else "value"
        section.figures.append(
            chart("metric-" + name, name, f"{name} ({unit})", lines, runs, levels=levels)
        )
    if len(names) > MAX_METRICS:
        section.intro += f" The first {MAX_METRICS} of {len(names)} metrics are drawn."
    return section


def health_section(runs: Sequence[WorkDir]) -> Section:
    """The values that the verdicts rest on."""
    section = Section(
        "health",
        "Health of the embedding",
        "Measured on training batches, once an epoch.",
    )
    found = {name for run in runs for entry in run.health for name in values_of(entry)}
    for name, (title, unit, note) in HEALTH.items():
        if name not in found:
            continue
        lines = {run.name: health_points(run, name) for run in runs}
        spread = {}
        if name in SPREAD:
            spread = {run.name: health_points(run, SPREAD[name]) for run in runs}
        levels = {"knows nothing": 1.0} if name == "nce_ratio" else {}
        section.figures.append(chart(name, title, unit, lines, runs, note, levels, spread))
    return section


def health_points(run: WorkDir, name: str) -> Points:
    """(epoch, value) of a health value."""
    return [(e["epoch"], values_of(e)[name]) for e in run.health if name in values_of(e)]


def values_of(entry: dict) -> dict[str, float]:
    """The numbers of an entry of health.jsonl."""
    values = entry.get("values")
    items = values.items() if isinstance(values, dict) else ()
    return {k: float(v) for k, v in items if isinstance(v, int | float)}


def chart(
    name: str,
    title: str,
    unit: str,
    lines: Mapping[str, Points],
    runs: Sequence[WorkDir],
    note: str = "",
    levels: Mapping[str, float] | None = None,
    spread: Mapping[str, Points] | None = None,
) -> Figure:
    """One quantity of all runs.

    Args:
        name: of the figure.
        title: of the figure.
        unit: of the vertical axis.
        lines: (x, value) points by run.
        runs: in the order that gives each its colour and line.
        note: of the caption.
        levels: horizontal lines, by what they are called.
        spread: (x, standard deviation) points by run, drawn as a band.
    """
    figure, axes = new_axes()
    drawn = []
    for i, run in enumerate(runs):
        points = _finite(lines.get(run.name, []))
        if points.size:
            _draw(axes, points, i, run.name)
            _draw_band(axes, lines[run.name], (spread or {}).get(run.name, []), i)
            drawn.append(points)
    for i, (label, level) in enumerate((levels or {}).items()):
        style = ((0, (5, 3)), (0, (1, 2)))[i % 2]
        axes.axhline(level, color="#444444", linestyle=style, linewidth=1, label=label)
    values = np.concatenate([p[:, 1] for p in drawn]) if drawn else np.zeros(0)
    if values.size and values.min() > 0 and values.max() > 50 * values.min() and not levels:
        axes.set_yscale("log")
    axes.set_xlabel(runs[0].unit)
    whole_numbers(axes)
    axes.set_ylabel(unit)
    axes.grid(True, linewidth=0.3, alpha=0.6)
    if len(runs) + len(levels or {}) > 1:
        add_legend(axes)
    slug = _slug(name)
    ends = [
        f"{run.name}: {ends_at[-1][1]:.4g} at {run.unit} {ends_at[-1][0]:g}"
        for run in runs
        if (ends_at := lines.get(run.name))
    ]
    caption = " ".join(filter(None, [note, "At the end " + "; ".join(ends) + "." if ends else ""]))
    label = f"{title} over training. {caption}"
    return Figure(slug, title, to_svg(figure, slug, label), caption, _table(lines, runs))


def _draw(axes: Axes, points: np.ndarray, index: int, label: str) -> None:
    every = max(1, math.ceil(len(points) / 8))
    axes.plot(points[:, 0], points[:, 1], markevery=every, label=label, **line_style(index))


def _draw_band(axes: Axes, points: Points, spread: Points, index: int) -> None:
    widths = dict(spread)
    band = np.array([(x, y - widths[x], y + widths[x]) for x, y in points if x in widths])
    if band.size:
        colour = line_style(index)["color"]
        axes.fill_between(band[:, 0], band[:, 1], band[:, 2], color=colour, alpha=0.15, linewidth=0)


def _finite(points: Points) -> np.ndarray:
    array = np.asarray(points, dtype=float).reshape(-1, 2)
    return array[np.isfinite(array).all(axis=1)]


def _scaled(run: WorkDir, points: Points) -> Points:
    return [(run.x(x), value) for x, value in points]


def _table(lines: Mapping[str, Points], runs: Sequence[WorkDir]) -> Table:
    """A row an x, thinned evenly; the last is kept."""
    columns = {run.name: dict(lines.get(run.name, [])) for run in runs}
    places = sorted({x for column in columns.values() for x in column})
    if len(places) > TABLE_ROWS:
        picked = np.linspace(0, len(places) - 1, TABLE_ROWS).round().astype(int)
        places = [places[i] for i in picked]
    rows = [
        [f"{x:.4g}", *(f"{column[x]:.5g}" if x in column else "" for column in columns.values())]
        for x in places
    ]
    return Table([runs[0].unit, *columns], rows)


def _slug(name: str) -> str:
    return "curve-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
