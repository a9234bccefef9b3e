# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""matplotlib's figures as SVG inside a page: real text, unique ids, nothing from outside."""

import io
import math
import re
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..run_figure import COLOURS, MARKERS

# Inches. Text of 8 points in 3.6 inches is 11 px in a phone's width of 390 px.
WIDTH, HEIGHT = 3.6, 2.5
POINTS_PER_INCH = 72  # the unit of an SVG's canvas
LEGEND_ROW = 0.17  # inches
LEGEND_CHARACTERS = 18  # of a label, for two columns in that width
LINES = ("-", "--", "-.", ":")
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.image_inline": True,
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "legend.fontsize": 7.5,
    "axes.formatter.useoffset": False,
}


def new_axes(height: float = HEIGHT) -> tuple[Figure, Axes]:
    """A figure of one panel, without a title: the page says it."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def add_legend(figure: Figure, axes: Axes) -> None:
    """Above the axes, so that it hides no line; its lines long enough to show their dashes.

    The figure grows by as much.
    """
    handles, labels = axes.get_legend_handles_labels()
    if not labels:
        return
    columns = min(len(labels), 2 if max(map(len, labels)) <= LEGEND_CHARACTERS else 1)
    figure.set_figheight(figure.get_figheight() + LEGEND_ROW * math.ceil(len(labels) / columns))
    size = STYLE["legend.fontsize"]
    figure.legend(
        handles, labels, loc="outside upper center", ncols=columns, handlelength=3.2, fontsize=size
    )


def add_bar(figure: Figure, image: ScalarMappable, axes: Axes, label: str) -> None:
    """The scale of an image's colours."""
    bar = figure.colorbar(image, ax=axes, shrink=0.85, pad=0.02)
    bar.set_label(label, fontsize=STYLE["axes.labelsize"])
    bar.ax.tick_params(labelsize=STYLE["ytick.labelsize"])
    bar.ax.spines["outline"].set_linewidth(0.4)


def whole_numbers(axes: Axes) -> None:
    """Ticks of the horizontal axis at whole epochs or iterations."""
    axes.xaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))


def line_style(index: int) -> dict:
    """Colour, line and marker of the index-th of several lines: any one of them tells it apart."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": LINES[index % len(LINES)],
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 3.5,
        "linewidth": 1.4,
    }


def to_svg(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an inline SVG element that scales with the page.

    Args:
        figure: of matplotlib.
        name: unique in the page; goes before every id.
        label: what a screen reader says of it.
    """
    buffer = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        _lay_out(figure)
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", text, flags=re.S)
    root, _, rest = text.partition(">")
    box = re.search(r'viewBox="[^"]+"', root)
    # `href` alone is SVG 2; an `xlink:` prefix would need its namespace.
    rest = rest.replace("xlink:href=", "href=")
    rest = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", rest)
    rest = re.sub(r"\s*\n\s*", "\n", rest)
    box_text = box[0] if box else ""
    return Markup(f'<svg {box_text} role="img" aria-label="{escape(label)}">{rest.rstrip()}')


def _lay_out(figure: Figure) -> None:
    """Does what the layout engine would, once: with one, `savefig` draws the figure twice."""
    engine = figure.get_layout_engine()
    if engine is None:
        return
    FigureCanvasSVG(figure)  # whose measures of text are those of the file
    dpi, figure.dpi = figure.dpi, POINTS_PER_INCH
    engine.execute(figure)
    figure.dpi = dpi
    figure.set_layout_engine(None)
