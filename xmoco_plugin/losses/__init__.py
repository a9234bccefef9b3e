# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .cross_consistency import CrossConsistencyLoss, cross_consistency
from .info_nce import info_nce
from .uniform_similarity import UniformSimilarityLoss, uniform_similarity

__all__ = [
    "CrossConsistencyLoss",
    "UniformSimilarityLoss",
    "cross_consistency",
    "info_nce",
    "uniform_similarity",
]
