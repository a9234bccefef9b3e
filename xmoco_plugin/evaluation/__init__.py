# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .feature_bank import FeatureBank
from .features import collect_features, evaluation_mode, pixel_features
from .knn import knn_topk, knn_votes, largest_class_share
from .knn_test_loop import KNNTestLoop
from .knn_val_loop import KNNValLoop

__all__ = [
    "FeatureBank",
    "KNNTestLoop",
    "KNNValLoop",
    "collect_features",
    "evaluation_mode",
    "knn_topk",
    "knn_votes",
    "largest_class_share",
    "pixel_features",
]
