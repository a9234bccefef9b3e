# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What makes a resumed run equal an unbroken one: draws by place, loaders by position."""

from .batches import EndlessBatches
from .draws import mix, seed_generators, step_seed
from .loader import PlacedBatches, SeededDraws, is_placed, place_loader
from .position import KEY as POSITION
from .position import Position
from .workers import spare_workers

__all__ = [
    "POSITION",
    "EndlessBatches",
    "PlacedBatches",
    "Position",
    "SeededDraws",
    "is_placed",
    "mix",
    "place_loader",
    "seed_generators",
    "spare_workers",
    "step_seed",
]
