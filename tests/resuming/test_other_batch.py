# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run that goes on with batches of another size sees each image of an epoch once."""

import contextlib
from collections import defaultdict

from mmengine.dataset import DefaultSampler
from mmengine.hooks import Hook
from mmpretrain.registry import DATA_SAMPLERS, DATASETS, HOOKS

from tests import tiny_runner
from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.hooks import StopRequested

from . import runs


@HOOKS.register_module(force=True)
class Sees(Hook):
    """Notes which images an epoch trains on."""

    images: dict[int, list[int]] = defaultdict(list)

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        Sees.images[runner.epoch] += [s.sample_idx for s in data_batch["data_samples"]]


def part(folder, batch: int, ask: list | None = None, stop: int | None = None, **options):
    """Trains for a while, on from where the folder's run stands; epoch to its images, in order."""
    Sees.images = defaultdict(list)
    hooks = [dict(type=kind) for kind in ("ExactResumeHook", "TimedCheckpointHook", "Sees")]
    if ask:
        hooks.append(dict(type="AskAfter", iterations=ask))
    if stop:
        hooks.append(dict(type="KillAfter", iterations=stop))
    settings = dict(train_dataloader=tiny_runner.loader(batch), resume=True) | options
    with contextlib.suppress(runs.Killed, StopRequested):
        tiny_runner.build(folder, hooks=hooks, **settings).train()
    return Sees.images


def test_the_end_of_an_epoch_that_was_cut_is_its_end(tmp_path):
    seen = part(tmp_path, 2, ask=[3])[0]
    # 10 images are left, of which batches of 4 make two: one fewer than 16 images would.
    seen += part(tmp_path, 4, ask=[5])[0]
    assert [file.name for file in tmp_path.glob("*.pth")] == ["epoch_1.pth"]
    assert len(set(seen)) == len(seen) == 14
    assert sorted(part(tmp_path, 4)[1]) == list(range(16))


def test_an_epoch_that_was_cut_twice_sees_each_image_once(tmp_path):
    seen = part(tmp_path, 2, ask=[3])[0] + part(tmp_path, 4, ask=[4])[0]
    assert len(seen) == 10
    assert sorted(seen + part(tmp_path, 2)[0]) == list(range(16))


def test_an_epoch_of_which_no_whole_batch_is_left_ends(tmp_path):
    assert len(part(tmp_path, 2, ask=[7])[0]) == 14
    seen = part(tmp_path, 4)
    assert list(seen) == [1]
    assert sorted(seen[1]) == list(range(16))


def test_a_checkpoint_after_the_last_step_of_an_epoch_does_not_begin_it_anew(tmp_path):
    by_iteration = dict(checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=4))
    part(tmp_path, 4, stop=6, default_hooks=by_iteration)
    assert list(part(tmp_path, 4, default_hooks=by_iteration)) == [1]


@DATA_SAMPLERS.register_module(force=True)
class Pairs(DefaultSampler):
    def __iter__(self):
        return ((index, 0) for index in super().__iter__())


@DATASETS.register_module(force=True)
class ByPairs(tiny_runner.TinyImages):
    def __getitem__(self, pair):
        return super().__getitem__(pair[0])


def test_a_sampler_without_numbers_is_named_when_its_run_goes_on(tmp_path):
    loader = tiny_runner.loader(type="ByPairs") | dict(sampler=dict(type="Pairs"))
    part(tmp_path, 4, ask=[1], train_dataloader=loader)
    assert read_checkpoint(tmp_path / "epoch_0_iter_1.pth")["position"]["numbered"] is False
    part(tmp_path, 4, train_dataloader=loader)
    logs = "".join(file.read_text() for file in tmp_path.glob("*/*.log"))
    assert logs.count("not bit for bit: the sampler does not give whole numbers") == 1
