# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .cross_consistency import CrossConsistencyLoss, cross_consistency
from .info_nce import info_nce
from .teacher_consistency import TeacherConsistencyLoss, teacher_consistency
from .teacher_cosine import TeacherCosineLoss, teacher_cosine
from .teacher_dense import TeacherDenseLoss, teacher_dense
from .teacher_relation import TeacherRelationLoss, teacher_relation
from .uniform_similarity import UniformSimilarityLoss, uniform_similarity

__all__ = [
    "CrossConsistencyLoss",
    "TeacherConsistencyLoss",
    "TeacherCosineLoss",
    "TeacherDenseLoss",
    "TeacherRelationLoss",
    "UniformSimilarityLoss",
    "cross_consistency",
    "info_nce",
    "teacher_consistency",
    "teacher_cosine",
    "teacher_dense",
    "teacher_relation",
    "uniform_similarity",
]
