# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Reading weights: one reader, which runs nothing and refuses what cannot be right."""

from .allowed import allow_checkpoint_classes
from .download import cached_file, fetch, shown_url
from .errors import CheckpointError, NotFetchedError
from .named import (
    Named,
    check_checkpoint,
    check_named_weights,
    check_scheme,
    named_weights,
    noted_checkpoint,
)
from .numbers import check_kinds, check_optimizer, check_weights
from .reader import read_checkpoint, require_safetensors
from .resumed import check_resumable, without_orders
from .whole import TIMED_NAME, GoOn, go_on_from, is_timed, newest_before

__all__ = [
    "TIMED_NAME",
    "CheckpointError",
    "GoOn",
    "Named",
    "NotFetchedError",
    "allow_checkpoint_classes",
    "cached_file",
    "check_checkpoint",
    "check_kinds",
    "check_named_weights",
    "check_optimizer",
    "check_resumable",
    "check_scheme",
    "check_weights",
    "fetch",
    "go_on_from",
    "is_timed",
    "named_weights",
    "newest_before",
    "noted_checkpoint",
    "read_checkpoint",
    "require_safetensors",
    "shown_url",
    "without_orders",
]
