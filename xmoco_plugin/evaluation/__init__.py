# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .against_start import Answers, Change, change, is_fit
from .feature_bank import FeatureBank
from .features import collect_features, evaluation_mode, pixel_features
from .knn import knn_topk, knn_votes, largest_class_share
from .knn_test_loop import KNNTestLoop
from .knn_val_loop import KNNValLoop
from .step_health import Compared, StepHealth, measure_step
from .verdict import Accuracy, Verdict, judge

__all__ = [
    "Accuracy",
    "Answers",
    "Change",
    "Compared",
    "FeatureBank",
    "KNNTestLoop",
    "KNNValLoop",
    "StepHealth",
    "Verdict",
    "change",
    "collect_features",
    "evaluation_mode",
    "is_fit",
    "judge",
    "knn_topk",
    "knn_votes",
    "largest_class_share",
    "measure_step",
    "pixel_features",
]
