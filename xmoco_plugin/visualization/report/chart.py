# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from matplotlib.axes import Axes

from .figure import Figure, Table
from .scalars import Points
from .svg import add_legend, line_style, new_axes, to_svg, whole_numbers

TABLE_ROWS = 25
MARKERS_SHOWN = 8
LOG_FROM = 50  # largest over smallest value from which the axis is logarithmic
LEVEL_LINES = ((0, (5, 3)), (0, (1, 2)))

LARGEST = 1e100  # of what is drawn: the span of an axis must be a number (ours)


@dataclass
class Chart:
    """One quantity over training, a line a run.

    Attributes:
        name: of the figure, made to fit an id.
        title: of the figure.
        unit: of the vertical axis.
        lines: (x, value) points by run, in the order that gives each its colour and dashes; a run
            without points keeps its place.
        x_unit: of the horizontal axis, 'epoch' or 'iteration'.
        note: how to read it.
        levels: horizontal lines, by what they are called.
        spread: (x, standard deviation) points by run, drawn as a band.
        log: whether the axis is logarithmic where the values span much.
    """

    name: str
    title: str
    unit: str
    lines: Mapping[str, Points]
    x_unit: str = "epoch"
    note: str = ""
    levels: Mapping[str, float] = field(default_factory=dict)
    spread: Mapping[str, Points] = field(default_factory=dict)
    log: bool = True

    def draw(self) -> Figure:
        """The figure, its caption with the last values, and its numbers."""
        figure, axes = new_axes()
        for i, (run, points) in enumerate(self.lines.items()):
            drawn = _finite(points)
            if drawn.size:
                every = max(1, math.ceil(len(drawn) / MARKERS_SHOWN))
                axes.plot(drawn[:, 0], drawn[:, 1], markevery=every, label=run, **line_style(i))
                self._draw_band(axes, run, line_style(i)["color"])
        for (label, level), line in zip(self.levels.items(), LEVEL_LINES, strict=False):
            axes.axhline(level, color="#444444", linestyle=line, linewidth=1, label=label)
        values = np.concatenate([_finite(points)[:, 1] for points in self.lines.values()])
        bare = not self.levels and not any(self.spread.values())
        if bare and values.size:
            if self.log and 0 < LOG_FROM * values.min() < values.max():
                axes.set_yscale("log")
            elif values.min() == values.max() > 0:
                axes.set_ylim(0, 1.2 * values.max())  # or its ticks would part equal numbers
        axes.set_xlabel(self.x_unit)
        axes.set_ylabel(self.unit)
        axes.grid(True, linewidth=0.3, alpha=0.6)
        whole_numbers(axes)
        if len(self.lines) + len(self.levels) > 1 and axes.get_legend_handles_labels()[0]:
            add_legend(figure, axes)
        slug = "curve-" + re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")
        caption = self._caption()
        svg = to_svg(figure, slug, f"{self.title} over training. {caption}")
        return Figure(slug, self.title, svg, caption, self._table())

    def _draw_band(self, axes: Axes, run: str, colour: str) -> None:
        width = dict(self.spread.get(run, []))
        band = [(x, y - width[x], y + width[x]) for x, y in self.lines[run] if x in width]
        band = [place for place in band if np.isfinite(place).all() and max(place) < LARGEST]
        if band:
            x, low, high = zip(*band, strict=True)
            axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)

    def _caption(self) -> str:
        ends = [
            f"{run}: {points[-1][1]:.4g} at {self.x_unit} {points[-1][0]:g}"
            for run, points in self.lines.items()
            if points
        ]
        ends += [f"{label}: {level:.4g}" for label, level in self.levels.items() if ends]
        return " ".join(filter(None, [self.note, "; ".join(ends) + "." if ends else ""]))

    def _table(self) -> Table:
        """A row an x, thinned evenly to a readable number; the last is kept."""
        columns = {run: dict(points) for run, points in self.lines.items()}
        places: Sequence[float] = sorted({x for column in columns.values() for x in column})
        if len(places) > TABLE_ROWS:
            picked = np.linspace(0, len(places) - 1, TABLE_ROWS).round().astype(int)
            places = [places[i] for i in picked]
        rows = [
            [f"{x:.4g}", *(f"{c[x]:.5g}" if x in c else "" for c in columns.values())]
            for x in places
        ]
        return Table([self.x_unit, *columns], rows)


def _finite(points: Points) -> np.ndarray:
    """(P, 2), without what is not a number, or no number that an axis can show."""
    array = np.asarray(points, dtype=float).reshape(-1, 2)
    return array[np.isfinite(array).all(axis=1) & (np.abs(array) < LARGEST).all(axis=1)]
