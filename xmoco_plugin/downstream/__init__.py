# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fine-tuning through mmdet and mmseg: what is filled in and checked before the first iteration."""

from .errors import DownstreamError
from .judged_by_config import judged_by
from .judged_images import judged_images
from .prepare import (
    SCOPES,
    from_imagenet,
    from_scratch,
    leaf_datasets,
    prepare,
    pretrained_starts,
    require_libraries,
)
from .survey import survey_folder
from .training_set import TrainingSet

__all__ = [
    "SCOPES",
    "DownstreamError",
    "TrainingSet",
    "from_imagenet",
    "from_scratch",
    "judged_by",
    "judged_images",
    "leaf_datasets",
    "prepare",
    "pretrained_starts",
    "require_libraries",
    "survey_folder",
]
