# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .regularized_densecl import RegularizedDenseCL
from .regularized_simclr import RegularizedSimCLR
from .taught_xmoco import TaughtXMoCo
from .teacher_contrast import TeacherContrast
from .xmoco import XMoCo

__all__ = [
    "RegularizedDenseCL",
    "RegularizedSimCLR",
    "TaughtXMoCo",
    "TeacherContrast",
    "XMoCo",
]
