# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Lets a loader draw for each image by its place, and begin in the middle of an epoch."""

import operator
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from mmengine.dataset import DefaultSampler, InfiniteSampler
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from ..distributed import world
from .draws import mix, seed_generators

IMAGE = 0  # sets the seeds of images apart from those of steps
# In their passes each image comes once (but for those that round a pass up).
ONCE = (DefaultSampler.__iter__, InfiniteSampler.__iter__)


class Place(int):
    """An index of a data set that bears the seed of what is drawn for it here and now."""

    draws: int

    def __new__(cls, index: int, draws: int) -> "Place":
        place = super().__new__(cls, index)
        place.draws = draws
        return place

    def __reduce__(self) -> tuple:
        return Place, (int(self), self.draws)


class SeededDraws:
    """A data set as a loader's workers see it: for a :class:`Place` all generators are seeded.

    An index of another kind passes as it is, so that what looks at the set by itself draws as
    before. After an image the generators go on from its seed, not from where they were.

    Args:
        dataset: with ``__getitem__``.
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, Place):
            seed_generators(index.draws)
            index = int(index)
        return self.dataset[index]

    @property
    def __getitems__(self) -> Callable[[list], Any] | None:
        """torch's way to ask for a whole batch, where the data set has it."""
        whole = getattr(self.dataset, "__getitems__", None)
        if whole is None:
            return None

        def get(indices: list) -> Any:
            if indices and isinstance(indices[0], Place):
                seed_generators(indices[0].draws)
            return whole([int(i) if isinstance(i, Place) else i for i in indices])

        return get


class PlacedBatches:
    """A batch sampler whose indices are places: seeded by run, pass over the data, and image.

    So order, workers and processes do not matter. Where a sampler may bring an image several times
    a pass, its position in the pass counts too.

    Args:
        batch_sampler: the loader's.
        sampler: that it draws from.
        images: of the data set.

    Attributes:
        seed: of the run.
        epoch: that the next iteration is; counted on where nobody sets it.
        skip: images of this process that the next iteration leaves out: they are not loaded.
        numbered: whether all indices so far were whole numbers; for others nothing is seeded.
    """

    def __init__(self, batch_sampler: Any, sampler: Any, images: int) -> None:
        self.batch_sampler, self.sampler, self.images = batch_sampler, sampler, max(images, 1)
        self.seed, self.epoch, self.skip = 0, 0, 0
        self.numbered = True
        # Of a batch sampler of another kind it is not known which image is of which pass.
        self._plain = type(batch_sampler) is BatchSampler
        once = getattr(type(sampler), "__iter__", None) in ONCE or getattr(sampler, "once", False)
        self._once = self._plain and once

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[list]:
        epoch, self.epoch = self.epoch, self.epoch + 1
        skip, self.skip = self.skip, 0
        position = 0
        if self._plain and skip:
            rest = islice(self.sampler, skip, None)
            given = self.batch_sampler
            batches = iter(BatchSampler(rest, given.batch_size, given.drop_last))  # type: ignore[arg-type]
            position = skip
        else:
            batches = iter(self.batch_sampler)
            while position < skip and (left_out := next(batches, None)) is not None:
                position += len(left_out)
        for batch in batches:
            yield [self._place(index, epoch, position + i) for i, index in enumerate(batch)]
            position += len(batch)

    def batches_after(self, images: int) -> int | None:
        """That follow where each process leaves out so many images; None if nobody can tell."""
        if not self._plain:
            return None
        given = self.batch_sampler
        rest = max(len(self.sampler) - images, 0)
        return rest // given.batch_size if given.drop_last else -(-rest // given.batch_size)

    def _place(self, index: Any, epoch: int, position: int) -> Any:
        try:
            number = operator.index(index)  # a numpy integer too
        except TypeError:
            self.numbered = False
            return index
        rank, size = world()
        everywhere = position * size + rank  # among the indices of all processes
        if self._once:
            return Place(number, mix(self.seed, IMAGE, epoch + everywhere // self.images, number))
        return Place(number, mix(self.seed, IMAGE, epoch, number, everywhere))


class _PlacedLoader(DataLoader):
    """What a loader becomes: its iterators, and they alone, see the places."""

    placed: PlacedBatches

    def __iter__(self) -> Any:
        kept = self.dataset, self.batch_sampler
        try:
            # torch lets nobody replace them in a loader; for all others they stay what they are.
            object.__setattr__(self, "dataset", SeededDraws(self.dataset))
            object.__setattr__(self, "batch_sampler", self.placed)
            return super().__iter__()
        finally:
            object.__setattr__(self, "dataset", kept[0])
            object.__setattr__(self, "batch_sampler", kept[1])


def place_loader(loader: Any) -> str | None:
    """Let a loader draw by place; returns why it cannot, or None.

    Workers that the loader keeps from an earlier iteration are given up.
    """
    if not isinstance(loader, DataLoader):
        return f"a {type(loader).__name__} is no DataLoader of torch"
    if isinstance(loader.dataset, IterableDataset):
        return f"{type(loader.dataset).__name__} has no numbers of images"
    if loader.batch_sampler is None:
        return "the loader makes no batches"
    if not is_placed(loader):
        sampler = getattr(loader.batch_sampler, "sampler", loader.sampler)
        batches = PlacedBatches(loader.batch_sampler, sampler, len(loader.dataset))  # type: ignore[arg-type]
        loader.__class__ = type(type(loader).__name__, (_PlacedLoader, type(loader)), {})
        loader.placed = batches  # type: ignore[attr-defined]
        loader._iterator = None
    return None


def is_placed(loader: Any) -> bool:
    """Whether :func:`place_loader` has dealt with a loader."""
    return isinstance(loader, _PlacedLoader)
