# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .channel_views import ChannelViews
from .channels_data_preprocessor import ChannelsDataPreprocessor
from .one_channel_view import OneChannelView
from .one_view import OneView
from .pack_ragged_inputs import PackRaggedInputs
from .parameters import ViewParameters, draw_parameters
from .prefetcher import Prefetcher, PreparedBatch
from .ragged import ragged_collate
from .recipe import RECIPES, ViewRecipe, build_recipes
from .recipe_steps import recipe_steps
from .render import render_views
from .training_size import training_size
from .two_view_data_preprocessor import TwoViewDataPreprocessor
from .two_views import TwoViews

__all__ = [
    "RECIPES",
    "ChannelViews",
    "ChannelsDataPreprocessor",
    "OneChannelView",
    "OneView",
    "PackRaggedInputs",
    "Prefetcher",
    "PreparedBatch",
    "TwoViewDataPreprocessor",
    "TwoViews",
    "ViewParameters",
    "ViewRecipe",
    "build_recipes",
    "draw_parameters",
    "ragged_collate",
    "recipe_steps",
    "render_views",
    "training_size",
]
