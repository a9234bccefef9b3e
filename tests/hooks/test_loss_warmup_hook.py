# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from xmoco_plugin.hooks import LossWarmupHook

from .. import models, tiny_runner


@HOOKS.register_module(force=True)
class NoteFactors(Hook):
    """Notes the factors that each training step ran with."""

    seen: list

    def before_train(self, runner):
        type(self).seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        head = runner.model.head
        self.seen.append((head.consistency.weight_factor, head.uniformity.weight_factor))


def run(tmp_path, warmup: dict, **options):
    hooks = [dict(type="LossWarmupHook") | warmup, dict(type="NoteFactors")]
    tiny_runner.build(tmp_path, hooks=hooks, **options).train()
    return NoteFactors.seen


def test_the_factors_rise_linearly_from_zero_and_stay_at_one(tmp_path):
    seen = run(tmp_path, dict(epochs=1.25))
    expected = [0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1]
    assert [a for a, _ in seen] == pytest.approx(expected)
    assert [b for _, b in seen] == pytest.approx(expected)


def test_iterations_a_later_begin_and_single_terms_are_options(tmp_path):
    seen = run(tmp_path, dict(iters=4, begin=2, terms="uniformity"))
    assert [a for a, _ in seen] == [1] * 8
    assert [b for _, b in seen] == pytest.approx([0, 0, 0, 0.25, 0.5, 0.75, 1, 1])


def test_a_resumed_run_goes_on_with_the_factor_it_would_have_had(tmp_path):
    whole = run(tmp_path / "whole", dict(epochs=4), train_cfg=dict(by_epoch=True, max_epochs=3))
    run(tmp_path / "half", dict(epochs=4))
    rest = run(
        tmp_path / "half",
        dict(epochs=4),
        resume=True,
        train_cfg=dict(by_epoch=True, max_epochs=3),
    )
    assert rest == whole[8:]
    assert rest[0] == (0.5, 0.5)


def test_the_warmed_up_term_enters_the_total_with_its_factor(tmp_path):
    losses = []

    class Note(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            losses.append({k: v.item() for k, v in outputs.items()})

    runner = tiny_runner.build(tmp_path, hooks=[dict(type="LossWarmupHook", iters=2)])
    runner.register_hook(Note())
    runner.train()
    assert losses[0]["loss_consistency"] == losses[0]["loss_uniformity"] == 0
    assert losses[0]["loss"] == pytest.approx(losses[0]["loss_nce"])
    assert losses[2]["loss_consistency"] > 0


def test_an_unknown_term_is_refused_and_the_known_ones_named(tmp_path):
    runner = tiny_runner.build(tmp_path, hooks=[dict(type="LossWarmupHook", iters=1, terms="x")])
    with pytest.raises(ValueError, match=r"no term 'x'.* has consistency, uniformity"):
        runner.train()


def test_a_model_without_such_terms_is_refused(tmp_path):
    model = models.config("MoCo", data_preprocessor=dict(type="SelfSupDataPreprocessor"))
    runner = tiny_runner.build(tmp_path, hooks=[dict(type="LossWarmupHook", iters=1)], model=model)
    with pytest.raises(ValueError, match=r"ContrastiveHead has no term 'consistency'.* has none"):
        runner.train()


def test_a_term_that_is_switched_off_is_left_out(tmp_path):
    model = models.config(
        data_preprocessor=dict(type="SelfSupDataPreprocessor"),
        head=dict(type="XMoCoHead", uniformity=dict()),
    )
    runner = tiny_runner.build(tmp_path, hooks=[dict(type="LossWarmupHook", iters=4)], model=model)
    runner.train()
    assert runner.model.head.uniformity.weight_factor == 1


@pytest.mark.parametrize("wrong", [dict(), dict(epochs=1, iters=1), dict(iters=0), dict(epochs=-1)])
def test_lengths_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValueError, match="got"):
        LossWarmupHook(**wrong)
