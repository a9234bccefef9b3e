# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fine-tuning through mmdet and mmseg: what is filled in and checked before the first iteration."""

from .errors import DownstreamError
from .prepare import SCOPES, from_scratch, leaf_datasets, prepare, require_libraries

__all__ = [
    "SCOPES",
    "DownstreamError",
    "from_scratch",
    "leaf_datasets",
    "prepare",
    "require_libraries",
]
