# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The places of a student's feature map, as a dense term compares them with a teacher's."""

import math
from typing import Any

import torch


def student_places(maps: Any, projected: Any = None) -> torch.Tensor:
    """The places of one view, (n, D, h, w).

    Args:
        maps: what the backbone gave; its last map is taken.
        projected: what a neck of dense embeddings gave: the second, (n, D, h * w), is taken
            instead, for terms that compare in the teacher's space.

    Raises:
        ValueError: there is no map, or the neck keeps none.
    """
    last = maps[-1] if isinstance(maps, tuple | list) else maps
    if last.ndim != 4:
        raise ValueError(
            f"dense needs a feature map (n, C, h, w) of the student's backbone, which gives "
            f"{tuple(last.shape)}: take another backbone, or dense=None"
        )
    if projected is None:
        return last
    dense = projected[1] if len(projected) > 1 else None
    if dense is None or dense.ndim != 3:
        raise ValueError(
            "dense=dict(match='cosine') compares places in the teacher's space, and the neck keeps "
            "none: set neck.type='DenseCLNeck', or match='relation', which needs no common space"
        )
    height, width = last.shape[2:]
    if dense.shape[2] != height * width:  # the neck has pooled them to a square grid
        height = width = math.isqrt(dense.shape[2])
    return dense.unflatten(2, (height, width))
