# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .few_labels_figure import few_labels_figure, save_few_labels_figure
from .fixed_views import (
    choose_images,
    fixed_inputs,
    fixed_randomness,
    fixed_views,
    kept_randomness,
    label_of,
    spread_images,
)
from .json_lines_vis_backend import JsonLinesVisBackend
from .run_figure import RunCurves, run_figure, save_run_figure
from .similarity_map import (
    asymmetry,
    cross_similarity,
    describe_similarity,
    draw_similarity,
    two_view_similarity,
)
from .stored_maps import read_maps

__all__ = [
    "JsonLinesVisBackend",
    "RunCurves",
    "asymmetry",
    "choose_images",
    "cross_similarity",
    "describe_similarity",
    "draw_similarity",
    "few_labels_figure",
    "fixed_inputs",
    "fixed_randomness",
    "fixed_views",
    "kept_randomness",
    "label_of",
    "read_maps",
    "run_figure",
    "save_few_labels_figure",
    "save_run_figure",
    "spread_images",
    "two_view_similarity",
]
