# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from tests import models, tiny_runner
from xmoco_plugin.hooks import ProgressiveSizeHook

SMALL = dict(type="ProgressiveSizeHook", first=4, last=8, multiple=2)


@HOOKS.register_module(force=True)
class NoteSizes(Hook):
    """Notes the size of the images that the encoder got in each step."""

    def before_train(self, runner):
        type(self).seen = []
        runner.model.backbone.register_forward_hook(
            lambda module, inputs, output: self.seen.append(tuple(inputs[0].shape[2:]))
        )


def run(work_dir, epochs: int = 4, hook: dict = SMALL, **options) -> list[int]:
    """Sides of the views, an entry a step."""
    preprocessor = dict(
        type="TwoViewDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3, views=dict(size=8)
    )
    settings = dict(
        model=models.config(data_preprocessor=preprocessor),
        train_dataloader=tiny_runner.loader(views=False, drop_last=True),
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=epochs),
    )
    hooks = [hook, dict(type="NoteSizes")]
    tiny_runner.build(work_dir, hooks=hooks, **settings | options).train()
    assert all(height == width for height, width in NoteSizes.seen)
    return [height for height, _ in NoteSizes.seen]


def test_sizes_rise_from_the_first_to_the_last_in_multiples_and_stay():
    hook = ProgressiveSizeHook(begin=1, end=7)
    sizes = [hook.size(epoch, 10) for epoch in range(10)]
    assert sizes == [160, 160, 160, 192, 192, 192, 224, 224, 224, 224]
    whole = [ProgressiveSizeHook().size(epoch, 200) for epoch in range(200)]
    assert (whole[0], whole[-1], sorted(whole)) == (160, 224, whole)
    assert set(whole) == {160, 192, 224}
    odd = ProgressiveSizeHook(first=150, last=230, end=4)
    assert [odd.size(epoch, 9) for epoch in range(5)] == [150, 160, 192, 224, 230]
    falling = ProgressiveSizeHook(first=224, last=160, end=2)
    assert [falling.size(epoch, 9) for epoch in range(3)] == [224, 192, 160]


def test_training_of_one_epoch_has_the_last_size():
    assert ProgressiveSizeHook().size(0, 1) == 224


def test_a_run_sees_the_sizes_of_its_epochs_and_so_does_one_that_was_resumed(tmp_path):
    whole = run(tmp_path / "whole", hook={**SMALL, "end": 3})
    assert whole == [4] * 4 + [6] * 8 + [8] * 4
    run(tmp_path / "cut", epochs=2, hook={**SMALL, "end": 3})
    assert run(tmp_path / "cut", hook={**SMALL, "end": 3}, resume=True) == whole[8:]


def test_sizes_that_make_no_sense_are_refused():
    for wrong in (dict(first=0), dict(multiple=0), dict(begin=-1), dict(begin=5, end=5)):
        with pytest.raises(ValueError, match="0 <= begin < end, got first="):
            ProgressiveSizeHook(**wrong)


def test_views_made_elsewhere_and_training_without_epochs_are_refused(tmp_path):
    host = models.config(data_preprocessor=dict(type="SelfSupDataPreprocessor"))
    with pytest.raises(ValueError, match="the model has a SelfSupDataPreprocessor: make the views"):
        run(tmp_path, model=host)
    iterations = dict(
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=2),
        train_dataloader=tiny_runner.loader(views=False, drop_last=True, infinite=True),
    )
    with pytest.raises(ValueError, match="got IterBasedTrainLoop"):
        run(tmp_path, **iterations)
