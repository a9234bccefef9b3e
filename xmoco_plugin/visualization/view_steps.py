# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""An image on its way through a pipeline, step by step."""

from collections.abc import Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class Step(NamedTuple):
    """What one transform made of an image."""

    name: str
    image: np.ndarray | None  # (H, W, 3) uint8 BGR, or None where it was not called
    remark: str = ""


def draw_steps(rows: Sequence[Sequence[Step]], title: str) -> Figure:
    """A row a view, a column a step; a step that was passed over stays empty."""
    columns = max(map(len, rows))
    figure = Figure(figsize=(1.7 * columns, 2.3 * len(rows) + 0.4), layout="constrained", dpi=110)
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes, steps in zip(grid, rows, strict=True):
        for panel in axes[len(steps) :]:
            panel.set_axis_off()
        for panel, step in zip(axes, steps, strict=False):
            panel.set(xticks=[], yticks=[])
            panel.set_title(step.name.replace(" > ", " >\n"), fontsize=7)
            panel.set_xlabel(step.remark, fontsize=7)
            if step.image is None:
                panel.set_facecolor("#eeeeee")
                panel.set_box_aspect(1)
            else:
                panel.imshow(step.image[:, :, ::-1], interpolation="nearest")
    figure.suptitle(title, fontsize=8, parse_math=False)  # a name, which may hold $
    return figure


def save_steps(rows: Sequence[Sequence[Step]], title: str, file: str | BinaryIO) -> None:
    """Write it as a PNG."""
    draw_steps(rows, title).savefig(file, format="png")
