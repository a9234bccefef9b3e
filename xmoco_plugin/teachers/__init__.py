# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A frozen network whose features others learn from: found, asked, its answers stored."""

from .bank import KeyBank
from .errors import TeacherError
from .projection import DIMS, KEPT, Projection, fit_projection, most_dims

__all__ = [
    "DIMS",
    "KEPT",
    "KeyBank",
    "Projection",
    "TeacherError",
    "fit_projection",
    "most_dims",
]
