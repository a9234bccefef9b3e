# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .fixed_views import choose_images, fixed_randomness, fixed_views, label_of
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
    "choose_images",
    "cross_similarity",
    "describe_similarity",
    "draw_similarity",
    "fixed_randomness",
    "fixed_views",
    "label_of",
    "run_figure",
    "save_run_figure",
    "two_view_similarity",
]
