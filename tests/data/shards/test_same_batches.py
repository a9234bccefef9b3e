# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The same batches on any number of processes and workers, and after a kill, from a bucket too."""

import itertools

import pytest
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from xmoco_plugin.data import ShardedImages, ShardSampler
from xmoco_plugin.data.shards import DamagedShardError
from xmoco_plugin.hooks.same_everywhere_hook import data_digest
from xmoco_plugin.resuming import place_loader
from xmoco_plugin.visualization import choose_images

from ... import tiny_runner
from ...multiprocess import run_processes
from ...resuming import runs
from .conftest import IMAGES

BATCH = 8  # of all processes
VIEWS = [
    dict(type="LoadImageOrSkip"),
    dict(type="RandomResizedCrop", scale=6),
    dict(type="PackInputs", meta_keys=("img_path", "skipped")),
]


def loaded(rank: int, size: int, url: str, workers: int, skip: int) -> list:
    """(name, sum of pixels) of each image of each batch of the second epoch."""
    dataset = ShardedImages(url, pipeline=VIEWS)
    loader = DataLoader(
        dataset,
        BATCH // size,
        sampler=ShardSampler(dataset, seed=5, mixed=4),
        num_workers=workers,
        collate_fn=pseudo_collate,
    )
    assert place_loader(loader) is None
    loader.placed.skip, loader.placed.epoch = skip * BATCH // size, 1
    loader.sampler.set_epoch(1)
    return [
        [
            (sample.img_path, int(pixels.sum()))
            for pixels, sample in zip(batch["inputs"], batch["data_samples"], strict=True)
        ]
        for batch in loader
    ]


def together(parts: list) -> list:
    return [sorted(itertools.chain(*batches)) for batches in zip(*parts, strict=True)]


@pytest.fixture(scope="module")
def alone(local):
    whole = together([loaded(0, 1, str(local), 0, 0)])
    assert len({name for batch in whole for name, _ in batch}) == IMAGES
    return whole


@pytest.mark.parametrize(("size", "workers"), [(1, 2), (2, 0), (4, 2)])
def test_processes_and_workers_see_the_same_batches_and_views(alone, bucket, size, workers):
    parts = run_processes(loaded, size, bucket, workers, 0) if size > 1 else None
    assert together(parts or [loaded(0, 1, bucket, workers, 0)]) == alone


def test_a_run_that_goes_on_with_other_processes_sees_the_batches_that_are_left(alone, local):
    assert together(run_processes(loaded, 2, str(local), 2, 3)) == alone[3:]


def settings(local) -> dict:
    loader = tiny_runner.loader(batch_size=8)
    flip = dict(type="MultiView", num_views=2, transforms=[[dict(type="RandomFlip", prob=0.5)]])
    read = [dict(type="LoadImageOrSkip"), dict(type="Resize", scale=(8, 8))]
    loader["dataset"] = dict(
        type="ShardedImages", data_root=str(local), pipeline=[*read, flip, dict(type="PackInputs")]
    )
    return dict(train_dataloader=loader | dict(sampler=dict(type="ShardSampler", mixed=4)))


def test_a_killed_training_goes_on_in_the_middle_of_an_epoch_bit_for_bit(local, tmp_path):
    runs.run(tmp_path / "whole", **settings(local))
    runs.run(tmp_path / "cut", stop=8, ask=[7], **settings(local))
    runs.run(tmp_path / "cut", resume=True, **settings(local))
    assert len(dict(runs.states(tmp_path / "whole"))) > 100
    assert runs.unlike(tmp_path / "whole", tmp_path / "cut") == []


def test_images_of_a_damaged_shard_are_skipped_and_named(local, monkeypatch):
    dataset = ShardedImages(str(local), pipeline=VIEWS)
    first = int(dataset.shards.lengths[0])

    def read(image):
        if image < first:
            raise DamagedShardError("00000.tar does not have its checksum")
        return whole(image)

    whole = dataset.shards.read
    monkeypatch.setattr(dataset.shards, "read", read)
    sample = dataset[0]["data_samples"]
    assert sample.skipped[0] == (
        "00000.tar, image 0",
        "00000.tar does not have its checksum",
    )


def test_a_look_at_the_set_opens_one_shard(local):
    dataset = ShardedImages(str(local), pipeline=VIEWS)
    assert choose_images(dataset, 4) == ([0, 1, 2, 3], [])
    data_digest(dataset)
    assert not dataset.shards._open


def test_a_sampler_over_something_else_says_so(local):
    part = ShardedImages(str(local), pipeline=[], indices=10)
    with pytest.raises(ValueError, match=r"whole sets of ShardedImages.*use DefaultSampler"):
        ShardSampler(part)
