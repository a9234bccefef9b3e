# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .encoder import MomentumEncoder
from .queue import filled_slots, write_ring
from .shuffle import ShuffledImages, ShufflePlan
from .split_bn import SplitBN

__all__ = [
    "MomentumEncoder",
    "ShufflePlan",
    "ShuffledImages",
    "SplitBN",
    "filled_slots",
    "write_ring",
]
