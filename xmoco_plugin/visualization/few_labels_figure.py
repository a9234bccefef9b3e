# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One picture of a fine-tuning on shares of the labels: a line a start, with the spread."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from .run_figure import COLOURS, MARKERS, tidy

DODGE = 1.035  # factor in x between starts, so that their bars do not cover each other


def few_labels_figure(
    curves: Mapping[str, Mapping[float, Sequence[float]]],
    metric: str,
    images: Mapping[float, int],
    title: str = "",
    caption: str = "",
) -> Figure:
    """Draw means over the seeds, bars of one standard deviation, and every run as a ring.

    Args:
        curves: For each start, the values of its seeds in percent by share in percent.
        metric: Name of the values.
        images: By share, how many images it has.
        title: Above the panel.
        caption: What varies from seed to seed; the number of seeds and what the bars are is added.
    """
    figure = Figure(figsize=(6.2, 4.4), layout="constrained", dpi=130)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    for i, (name, by_share) in enumerate(curves.items()):
        shares = sorted(by_share)
        place = [share * DODGE ** (i - (len(curves) - 1) / 2) for share in shares]
        bars = axes.errorbar(
            place,
            [np.mean(by_share[share]) for share in shares],
            # The sample's, which one value does not have.
            yerr=[
                float(np.std(by_share[s], ddof=1)) if len(by_share[s]) > 1 else 0.0 for s in shares
            ],
            color=COLOURS[i % 6],
            marker=MARKERS[i % 6],
            markersize=5,
            linewidth=1.5,
            capsize=3,
            label=name,
        )
        bars[0].set_gid(f"series-{name}")
        axes.scatter(
            [x for x, share in zip(place, shares, strict=True) for _ in by_share[share]],
            [value for share in shares for value in by_share[share]],
            s=9,
            facecolors="white",
            edgecolors=COLOURS[i % 6],
            linewidths=0.8,
            zorder=3,  # above the bars
        )
    ticks = sorted({share for by_share in curves.values() for share in by_share})
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(ticks, [f"{share:g} %\n{images[share]}" for share in ticks])
    axes.set_xlim(ticks[0] / 1.4, ticks[-1] * 1.4)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("share of the training images, log scale; below it their number", fontsize=8)
    axes.set_ylabel(f"{metric} on the validation images (%)", fontsize=8)
    tidy(axes)
    axes.legend(fontsize=8)
    figure.supxlabel(_caption(curves, caption), fontsize=7)
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def save_few_labels_figure(figure: Figure, file: Path) -> None:
    """Write it as its name's ending says; an SVG with real text, the same for the same figure."""
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "few labels"}):
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)


def _caption(curves: Mapping[str, Mapping[float, Sequence[float]]], note: str) -> str:
    counts = [len(values) for by_share in curves.values() for values in by_share.values()]
    least, most = min(counts), max(counts)
    if most == 1:
        return "One seed: nothing is known of the spread."
    number = str(most) if least == most else f"{least} to {most}"
    text = (
        f"Mean of {number} seeds; bars: ± 1 standard deviation (of the sample); rings: single runs."
    )
    return f"{text}\n{note}" if note else text
