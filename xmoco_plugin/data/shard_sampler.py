# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Iterator
from typing import Any

import numpy as np
from mmengine.dataset import DefaultSampler
from mmpretrain.registry import DATA_SAMPLERS

from .shards import MIXED, epoch_order


@DATA_SAMPLERS.register_module()
class ShardSampler(DefaultSampler):
    """Shuffles ``ShardedImages`` so that few shards are read at a time.

    The order of an epoch depends on the seed and the epoch alone: any number of processes and
    workers sees the same batches, and a run that was stopped goes on at the same image.

    Args:
        dataset (Dataset): With ``shards``, as ``ShardedImages`` has; not a part of one.
        mixed (int): Shards that are read at a time, of all processes together. Defaults to 64
            (ours).
        kwargs: Of mmengine's ``DefaultSampler`` (``shuffle``, ``seed``, ``round_up``).

    Raises:
        ValueError: The data set has no shards, or is a part of one.
        ShardError: The cache is too small.
    """

    each_once = True  # in a pass each image comes once, but for those that round it up

    def __init__(self, dataset: Any, mixed: int = MIXED, **kwargs) -> None:
        shards = getattr(dataset, "shards", None)
        if shards is None or len(dataset) != len(shards):
            raise ValueError(
                "ShardSampler orders whole sets of ShardedImages, not this "
                f"{type(dataset).__name__} of {len(dataset):,} images: use DefaultSampler"
            )
        if mixed < 1:
            raise ValueError(f"mixed is {mixed}; it must be at least 1")
        shards.check_room(mixed)
        self.mixed = mixed
        super().__init__(dataset, **kwargs)

    def __iter__(self) -> Iterator[int]:
        images = len(self.dataset)
        order = np.arange(images)
        if self.shuffle:
            order = epoch_order(self.dataset.shards.lengths, self.seed + self.epoch, self.mixed)
        if self.round_up:
            order = np.resize(order, self.total_size)
        return map(int, order[self.rank : self.total_size : self.world_size])
