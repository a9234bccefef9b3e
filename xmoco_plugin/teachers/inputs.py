# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a teacher's network is given: mean, deviation and order of its colours."""

from collections.abc import Mapping
from typing import Any

from ..export.detectors import takes_rgb
from .network import MEAN, STD

Inputs = tuple[tuple[float, ...], tuple[float, ...], bool]  # mean, std, whether BGR
IMAGENET: Inputs = (MEAN, STD, False)


def inputs_of(preprocessor: Mapping[str, Any] | None) -> Inputs:
    """Mean, std and whether colours are BGR, by the settings of a host's preprocessor.

    One that says nothing of an order leaves BGR, as it is read; one without a mean normalises
    nothing. Without any, a network is taken for one of ImageNet in RGB.
    """
    if not preprocessor:
        return IMAGENET
    mean, std = preprocessor.get("mean"), preprocessor.get("std")
    # Of images of many channels, whose reader has no order of colours.
    bgr = "value_range" not in preprocessor and not takes_rgb(preprocessor)
    if mean is None or std is None:
        return (0.0,), (1.0,), bgr
    return tuple(mean), tuple(std), bgr


def value_range_of(preprocessor: Mapping[str, Any] | None) -> tuple[float, float] | None:
    """What a preprocessor of images of many channels says became 0 and 255; None of others."""
    values = (preprocessor or {}).get("value_range")
    if not isinstance(values, list | tuple) or not {*map(type, values)} <= {int, float}:
        return None
    return (values[0], values[1]) if len(values) == 2 else None
