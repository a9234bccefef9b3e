# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .pack_ragged_inputs import PackRaggedInputs
from .parameters import ViewParameters, draw_parameters
from .ragged import ragged_collate
from .recipe import RECIPES, ViewRecipe, build_recipes
from .render import render_views
from .two_view_data_preprocessor import TwoViewDataPreprocessor

__all__ = [
    "RECIPES",
    "PackRaggedInputs",
    "TwoViewDataPreprocessor",
    "ViewParameters",
    "ViewRecipe",
    "build_recipes",
    "draw_parameters",
    "ragged_collate",
    "render_views",
]
