# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""timm, which need not be installed."""

from typing import Any

from .inputs import Inputs


def timm_library() -> Any:
    """The library; None where it is not installed."""
    try:
        import timm
    except ImportError:
        return None
    return timm


def inputs_of_timm(name: str) -> Inputs:
    """What weights of timm's take, by their whole name."""
    facts = timm_library().models.get_pretrained_cfg(name)
    return tuple(255 * v for v in facts.mean), tuple(255 * v for v in facts.std), False
