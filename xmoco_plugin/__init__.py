# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""XMoCo for OpenMMLab: importing this package registers every room in mmpretrain's registries."""

import warnings

from ._stack import check_stack, without_unasked
from ._yapf_cache import import_yapf

import_yapf()
check_stack()

with without_unasked(), warnings.catch_warnings():
    # An mmcv without compiled ops warns of one that nothing here uses.
    warnings.filterwarnings("ignore", "Fail to import ``MultiScaleDeformableAttention``")
    from . import (
        algorithms,
        cpu_amp,
        data,
        downstream,
        evaluation,
        export,
        heads,
        hooks,
        losses,
        momentum,
        pretraining,
        teachers,
        views,
        visualization,
    )
    from ._config_scope import config_path, register_config_scope
    from ._host_collate import register_collates
    from ._host_loading import read_for_the_host
    from ._host_writing import write_for_the_host
    from .version import __version__

register_config_scope()
register_collates()
read_for_the_host()
write_for_the_host()

__all__ = [
    "__version__",
    "algorithms",
    "config_path",
    "cpu_amp",
    "data",
    "downstream",
    "evaluation",
    "export",
    "heads",
    "hooks",
    "losses",
    "momentum",
    "pretraining",
    "teachers",
    "views",
    "visualization",
]
