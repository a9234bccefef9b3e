# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .run_figure import RunCurves, run_figure, save_run_figure
from .similarity_map import (
    asymmetry,
    cross_similarity,
    describe_similarity,
    draw_similarity,
    two_view_similarity,
)

__all__ = [
    "RunCurves",
    "asymmetry",
    "cross_similarity",
    "describe_similarity",
    "draw_similarity",
    "run_figure",
    "save_run_figure",
    "two_view_similarity",
]
