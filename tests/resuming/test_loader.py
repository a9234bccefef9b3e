# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import random
from itertools import chain

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from tests import tiny_runner
from xmoco_plugin.resuming import EndlessBatches, mix, place_loader
from xmoco_plugin.resuming import loader as rooms_loader

IMAGES, SEED = 10, 7
TWO_VIEWS = [dict(type="TwoViews", views=dict(size=8)), dict(type="PackInputs")]


class Draws(torch.utils.data.Dataset):
    """What each generator draws for an image, three times."""

    def __len__(self) -> int:
        return IMAGES

    def __getitem__(self, index: int) -> list[float]:
        three = range(3)
        return [
            float(index),
            *(random.random() for _ in three),
            *(np.random.random() for _ in three),
            *(float(torch.rand(())) for _ in three),
        ]


def reference(index: int, epoch: int) -> list[float]:
    """The draws, written down by hand from the rule."""
    seed = mix(SEED, 0, epoch, index)
    python, array = random.Random(seed), np.random.RandomState(seed % 2**32)
    generator = torch.Generator().manual_seed(seed)
    return [
        float(index),
        *(python.random() for _ in range(3)),
        *(array.random_sample() for _ in range(3)),
        *(float(torch.rand((), generator=generator)) for _ in range(3)),
    ]


def loader(workers: int = 0, sampler: object = None, dataset: object = None, batch: int = 2):
    made = DataLoader(
        dataset or Draws(),
        batch_size=batch,
        num_workers=workers,
        persistent_workers=workers > 0,
        sampler=sampler or DefaultSampler(Draws(), seed=0),
        collate_fn=list,
    )
    assert place_loader(made) is None
    made.placed.seed = SEED
    return made


def epoch_of(made, epoch: int, skip: int = 0) -> list:
    made.placed.epoch, made.placed.skip = epoch, skip
    if hasattr(made.sampler, "set_epoch"):
        made.sampler.set_epoch(epoch)
    return [sample for batch in made for sample in batch]


@pytest.fixture
def in_process(monkeypatch):
    """Makes a sampler, and the places, those of one of several processes."""

    def become(rank: int, size: int) -> DefaultSampler:
        monkeypatch.setattr(rooms_loader, "world", lambda: (rank, size))
        sampler = DefaultSampler(Draws(), seed=0)
        sampler.rank, sampler.world_size, sampler.num_samples = rank, size, IMAGES // size
        return sampler

    return become


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_what_is_drawn_for_an_image_depends_on_seed_epoch_and_image_alone(workers):
    made = loader(workers)
    for epoch in (0, 1):  # the same workers
        seen = epoch_of(made, epoch)
        assert sorted(seen) == [reference(i, epoch) for i in range(IMAGES)]
    assert epoch_of(made, 0) != epoch_of(made, 1)


def test_numpys_numbers_are_numbers_and_of_others_it_is_known_that_they_are_not():
    class Others(DefaultSampler):
        def __iter__(self):
            return map(self.kind, super().__iter__())

    sampler = Others(Draws(), seed=0)
    sampler.kind = np.int64
    made = loader(sampler=sampler)
    made.placed._once = True  # as of the host's own
    assert sorted(epoch_of(made, 1)) == [reference(i, 1) for i in range(IMAGES)]
    assert made.placed.numbered
    sampler.kind = lambda number: (number, 0)
    assert next(iter(made.placed))[0][1] == 0
    assert not made.placed.numbered


def test_two_processes_see_what_one_sees_in_its_order(in_process):
    alone = epoch_of(loader(sampler=in_process(0, 1)), 3)
    halves = [epoch_of(loader(sampler=in_process(rank, 2)), 3) for rank in (0, 1)]
    assert [sample for pair in zip(*halves, strict=True) for sample in pair] == alone


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("pipeline", [TWO_VIEWS, None], ids=["TwoViews", "MultiView"])
def test_views_of_the_hosts_pipelines_and_ours_are_the_same_with_any_workers(pipeline, workers):
    init_default_scope("mmpretrain")
    cfg = tiny_runner.loader(**dict(pipeline=pipeline) if pipeline else {})
    views = []
    for count in (0, workers):
        made = Runner.build_dataloader(cfg | dict(num_workers=count), seed=0)
        assert place_loader(made) is None
        np.random.seed(count)  # whatever was drawn before
        batches = list(made)
        views.append(torch.cat([torch.stack(batch["inputs"]) for batch in batches], dim=1))
    assert torch.equal(*views)
    assert not torch.equal(views[0][0], views[0][1])


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("batch", [2, 3])
def test_the_middle_of_an_epoch_is_reached_without_loading_what_is_behind(workers, batch):
    class Loaded(Draws):
        def __getitem__(self, index: int) -> list[float]:
            assert index not in behind
            return super().__getitem__(index)

    whole = epoch_of(loader(batch=batch), 1)
    behind = {int(sample[0]) for sample in whole[:6]}
    assert epoch_of(loader(workers, dataset=Loaded(), batch=batch), 1, skip=6) == whole[6:]


def test_an_image_that_a_sampler_repeats_is_drawn_for_anew():
    class Repeated(DefaultSampler):
        def __iter__(self):
            return iter([i for i in range(IMAGES) for _ in range(2)])

    seen = epoch_of(loader(sampler=Repeated(Draws(), seed=0)), 0)
    assert len({tuple(sample) for sample in seen}) == 2 * IMAGES


@pytest.mark.parametrize("endless", [True, False], ids=["InfiniteSampler", "DefaultSampler"])
@pytest.mark.parametrize("behind", [0, 3, 7, 13])
def test_batches_without_end_go_on_at_any_position(endless, behind):
    def made() -> DataLoader:
        kind = InfiniteSampler if endless else DefaultSampler
        return loader(sampler=kind(Draws(), seed=0))

    first = EndlessBatches(made(), 0, 0, 0)
    expected = [next(first) for _ in range(20)]
    assert sorted(chain(*expected[5:10])) == [reference(i, 1) for i in range(IMAGES)]
    used = made()
    next(iter(used))  # the host's iterator has begun already
    epoch, rest = (0, behind) if endless else divmod(behind, 5)
    again = EndlessBatches(used, epoch, 2 * rest, behind)
    assert [next(again) for _ in range(behind)] == [None] * behind
    assert [next(again) for _ in range(20 - behind)] == expected[behind:]


def test_for_all_others_loader_and_data_set_stay_what_they_are():
    made = loader()
    list(made)
    assert type(made.dataset) is Draws
    assert type(made.sampler) is DefaultSampler
    random.seed(3)
    assert made.dataset[0][1] == random.Random(3).random()  # an index alone draws as before
