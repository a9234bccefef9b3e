# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Iterator
from typing import Any

from mmengine.dataset import InfiniteSampler


class EndlessBatches:
    """What an iteration-based loop asks for batches: the host's iterator, from any position on.

    A resumed loop of the host asks for all batches that are behind it, or to skip them. They were
    left out by the sampler already, without loading an image; such requests are answered with
    None.

    Args:
        loader: that `place_loader` has dealt with.
        epoch: pass over the data that it begins in; 0 for a sampler without end.
        skip: images of this process that are behind, in that pass.
        behind: batches that the loop will ask to pass over.
    """

    def __init__(self, loader: Any, epoch: int, skip: int, behind: int) -> None:
        self._loader, self._epoch, self._behind = loader, epoch, behind
        self._iterator: Iterator | None = None
        loader.placed.skip = skip
        sampler = loader.placed.sampler
        if isinstance(sampler, InfiniteSampler):
            # It is one endless iteration, and the host may have begun with it.
            sampler.indices = sampler._indices_of_rank()

    def skip_iter(self, count: int) -> None:
        """Pass over batches that are behind."""
        self._behind -= count

    def __iter__(self) -> "EndlessBatches":
        return self

    def __next__(self) -> Any:
        if self._behind > 0:
            self._behind -= 1
            return None
        if self._iterator is None:
            self._iterator = self._begin()
        batch = next(self._iterator, None)
        if batch is None:
            self._epoch += 1
            self._iterator = self._begin()
            batch = next(self._iterator)
        return batch

    def _begin(self) -> Iterator:
        self._loader.placed.epoch = self._epoch
        if hasattr(self._loader.sampler, "set_epoch"):
            self._loader.sampler.set_epoch(self._epoch)
        elif hasattr(self._loader.placed.sampler, "set_epoch"):
            self._loader.placed.sampler.set_epoch(self._epoch)
        return iter(self._loader)
