# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A frozen network whose features others learn from: found, asked, its answers stored."""

from .bank import KeyBank
from .channels import (
    as_text,
    channels_shown,
    check_channels,
    describe_channels,
    for_channels,
)
from .errors import TeacherError
from .inputs import IMAGENET, Inputs
from .judgement import Figures, TeacherVerdict, figures, judge_teacher, knn_accuracy
from .lesson import Lesson, read_lesson, write_lesson
from .network import FrozenTeacher, as_pixels, first_channels, patch_size
from .preparing import SAMPLE
from .projection import DIMS, KEPT, Projection, fit_projection, most_dims
from .sources import Source, open_file
from .stored import Belongs, StoredFeatures, computing_order, data_digest
from .zoo import Offer, looks_like_a_file, neither, network_of, no_file, offer_of, timm_backbone

__all__ = [
    "DIMS",
    "IMAGENET",
    "KEPT",
    "SAMPLE",
    "Belongs",
    "Figures",
    "FrozenTeacher",
    "Inputs",
    "KeyBank",
    "Lesson",
    "Offer",
    "Projection",
    "Source",
    "StoredFeatures",
    "TeacherError",
    "TeacherVerdict",
    "as_pixels",
    "as_text",
    "channels_shown",
    "check_channels",
    "computing_order",
    "data_digest",
    "describe_channels",
    "figures",
    "first_channels",
    "fit_projection",
    "for_channels",
    "judge_teacher",
    "knn_accuracy",
    "looks_like_a_file",
    "most_dims",
    "neither",
    "network_of",
    "no_file",
    "offer_of",
    "open_file",
    "patch_size",
    "read_lesson",
    "timm_backbone",
    "write_lesson",
]
