# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .regularized_head import RegularizedHead
from .regularized_swav_head import RegularizedSwAVHead
from .similarity_terms import SimilarityTerms
from .teacher_head import TeacherHead
from .xmoco_head import XMoCoHead

__all__ = [
    "RegularizedHead",
    "RegularizedSwAVHead",
    "SimilarityTerms",
    "TeacherHead",
    "XMoCoHead",
]
