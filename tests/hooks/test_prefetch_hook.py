# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from tests import models, tiny_runner
from xmoco_plugin.hooks import PrefetchHook
from xmoco_plugin.views import PreparedBatch

PREPROCESSOR = dict(
    type="TwoViewDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3, views=dict(size=8)
)


@HOOKS.register_module(force=True)
class PrefetchOnCPU(PrefetchHook):
    """Takes the prefetcher where there is no stream."""

    def before_train(self, runner):
        self.replace_loader(runner, None)


@HOOKS.register_module(force=True)
class NoteLosses(Hook):
    """Notes losses and the kind of batch, after the hooks of the host."""

    def before_train(self, runner):
        type(self).seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.seen.append((type(data_batch), outputs["loss"].item()))


def run(work_dir, hook: str | None, **options):
    hooks = [dict(type="NoteLosses"), *([dict(type=hook)] if hook else [])]
    runner = tiny_runner.build(
        work_dir,
        hooks=hooks,
        validate=True,
        **dict(
            model=models.config(data_preprocessor=PREPROCESSOR),
            train_dataloader=tiny_runner.loader(views=False, drop_last=True),
        )
        | options,
    )
    loader = runner.train_dataloader if runner.train_loop else None
    runner.train()
    assert runner.train_loop.dataloader is loader
    return runner.model.state_dict(), [loss for _, loss in NoteLosses.seen]


def equal(first: dict, second: dict) -> bool:
    return all(torch.equal(first[key], second[key]) for key in second)


def test_without_a_gpu_nothing_changes(tmp_path):
    plain, losses = run(tmp_path / "plain", None)
    ours, ours_losses = run(tmp_path / "ours", "PrefetchHook")
    assert NoteLosses.seen[0][0] is (PreparedBatch if torch.cuda.is_available() else dict)
    assert ours_losses == losses
    assert equal(ours, plain)


def test_prepared_batches_train_and_resume_as_the_loaders_do(tmp_path):
    plain, losses = run(tmp_path / "plain", None)
    ours, ours_losses = run(tmp_path / "ours", "PrefetchOnCPU")
    assert NoteLosses.seen[0][0] is PreparedBatch
    assert (len(losses), ours_losses) == (8, losses)
    assert equal(ours, plain)
    ends = []
    for hook in (None, "PrefetchOnCPU"):
        half = dict(train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=1))
        run(tmp_path / f"cut{hook}", hook, **half)
        ends.append(run(tmp_path / f"cut{hook}", hook, resume=True)[0])
    assert equal(*ends)


def test_the_next_batch_is_begun_before_the_host_reads_the_losses():
    assert PrefetchHook().priority == "HIGHEST"  # the host's RuntimeInfoHook, 'VERY_HIGH', waits


def test_loops_and_preprocessors_that_it_cannot_serve_are_refused(tmp_path):
    iterations = dict(
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=2),
        train_dataloader=tiny_runner.loader(views=False, drop_last=True, infinite=True),
    )
    with pytest.raises(ValueError, match=r"EpochBasedTrainLoop, got IterBasedTrainLoop.*take"):
        run(tmp_path, "PrefetchHook", **iterations)
    host = models.config(data_preprocessor=dict(type="SelfSupDataPreprocessor"))
    with pytest.raises(ValueError, match="needs a TwoViewDataPreprocessor, got SelfSup"):
        run(tmp_path, "PrefetchHook", model=host)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_side_stream_gives_the_losses_of_the_plain_run(tmp_path):
    _, losses = run(tmp_path / "plain", None)
    _, ours = run(tmp_path / "ours", "PrefetchHook")
    assert NoteLosses.seen[0][0] is PreparedBatch
    assert ours == pytest.approx(losses, rel=1e-4)  # kernels with atomics differ by rounding
