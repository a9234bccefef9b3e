# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.hooks import NonFiniteLossError, NonFiniteLossHook, StopRequested

from .. import tiny_runner
from ..multiprocess import run_processes
from ..resuming import runs  # noqa: F401  registers AskAfter


class Spoil(Hook):
    """Makes a loss term NaN or infinite from a given iteration (counted from 1) on."""

    priority = "VERY_HIGH"

    def __init__(self, step, term="loss_consistency", value=float("nan")):
        self.step, self.term, self.value = step, term, value

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.step:
            outputs[self.term] = outputs[self.term] * self.value
            outputs["loss"] = outputs["loss"] * self.value


def run(tmp_path, step: int, hook: dict | None = None, term="loss_consistency", **options):
    """Train 3 epochs of 4 iterations with a loss spoilt at ``step``; the error's message."""
    runner = tiny_runner.build(
        tmp_path,
        hooks=[dict(type="NonFiniteLossHook") | (hook or {})],
        **(dict(train_cfg=dict(by_epoch=True, max_epochs=3)) | options),
    )
    runner.register_hook(Spoil(step, term, options.get("value", float("nan"))))
    with pytest.raises(NonFiniteLossError) as error:
        runner.train()
    return str(error.value), runner


def test_the_message_names_step_term_and_last_good_checkpoint(tmp_path):
    message, runner = run(tmp_path, step=7)
    assert "loss_consistency became NaN or infinite at iteration 7 (epoch 2, its iteration 3)" in (
        message
    )
    assert f"last good checkpoint is {tmp_path / 'epoch_1.pth'}" in message
    assert "loss_nce" not in message
    assert runner.iter + 1 == 7
    read_checkpoint(tmp_path / "epoch_1.pth")


def test_before_the_first_checkpoint_the_message_says_there_is_none(tmp_path):
    message, _ = run(tmp_path, step=2)
    assert "iteration 2 " in message
    assert "no checkpoint of this run yet" in message
    assert not list(tmp_path.glob("*.pth"))


def test_a_checkpoint_of_an_older_run_in_the_folder_is_not_called_good(tmp_path):
    tiny_runner.build(tmp_path).train()
    message, _ = run(tmp_path, step=2)
    assert "no checkpoint of this run yet" in message


def test_after_a_resume_the_checkpoint_resumed_from_is_the_last_good_one(tmp_path):
    tiny_runner.build(tmp_path).train()
    message, _ = run(tmp_path, step=9, resume=True)
    assert "iteration 9 (epoch 3, its iteration 1)" in message
    assert f"last good checkpoint is {tmp_path / 'epoch_2.pth'}" in message


def test_after_a_resume_from_the_middle_of_an_epoch_it_is_that_one(tmp_path):
    timed = dict(type="TimedCheckpointHook")
    before, moved = tmp_path / "before", tmp_path / "moved"
    asked = tiny_runner.build(before, hooks=[timed, dict(type="AskAfter", iterations=[6])])
    with pytest.raises(StopRequested):
        asked.train()
    os.rename(before, moved)
    message, _ = run(moved, step=7, resume=True, load_from=str(moved / "epoch_1_iter_6.pth"))
    assert f"last good checkpoint is {moved / 'epoch_1_iter_6.pth'}" in message


def as_on_a_device(monkeypatch):
    # With other processes, or a device, the losses are only looked at now and then.
    monkeypatch.setattr("xmoco_plugin.hooks.nonfinite_loss_hook.get_world_size", lambda: 2)


def test_a_late_look_still_names_the_first_bad_step_and_saves_nothing(tmp_path, monkeypatch):
    as_on_a_device(monkeypatch)
    message, _ = run(tmp_path, step=6, term="loss_nce")
    assert "loss_nce became NaN or infinite at iteration 6" in message
    assert "stopped at iteration 8" in message
    assert f"last good checkpoint is {tmp_path / 'epoch_1.pth'}" in message
    assert [p.name for p in tmp_path.glob("*.pth")] == ["epoch_1.pth"]


def test_the_only_checkpoint_kept_is_not_deleted_for_a_bad_one(tmp_path, monkeypatch):
    as_on_a_device(monkeypatch)
    keep_one = dict(checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=1))
    run(tmp_path, step=6, default_hooks=keep_one)
    assert [p.name for p in tmp_path.glob("*.pth")] == ["epoch_1.pth"]


def test_checkpoints_counted_in_iterations_are_guarded_too(tmp_path, monkeypatch):
    as_on_a_device(monkeypatch)
    by_iteration = dict(
        checkpoint=dict(type="CheckpointHook", interval=3, by_epoch=False, max_keep_ckpts=1)
    )
    message, _ = run(
        tmp_path,
        step=5,
        default_hooks=by_iteration,
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=12),
        train_dataloader=tiny_runner.loader(infinite=True),
    )
    assert "iteration 5. Training stopped at iteration 6" in message
    assert [p.name for p in tmp_path.glob("*.pth")] == ["iter_3.pth"]


@pytest.mark.parametrize("value", [float("inf"), float("-inf")])
def test_infinity_counts_as_nan_does(tmp_path, value):
    runner = tiny_runner.build(tmp_path, hooks=[dict(type="NonFiniteLossHook")])
    runner.register_hook(Spoil(3, "loss_uniformity", value))
    with pytest.raises(NonFiniteLossError, match=r"loss_uniformity .* iteration 3 "):
        runner.train()


def test_a_healthy_run_is_left_alone(tmp_path):
    tiny_runner.build(tmp_path, hooks=[dict(type="NonFiniteLossHook")]).train()
    assert (tmp_path / "epoch_2.pth").exists()


def test_weights_spoilt_by_an_overflowing_gradient_are_not_saved(tmp_path):
    class Overflow(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            if runner.iter + 1 == 8:  # the last of its epoch: every loss so far was finite
                runner.model.backbone.conv.weight.data[0] = float("inf")

    runner = tiny_runner.build(tmp_path, hooks=[dict(type="NonFiniteLossHook")])
    runner.register_hook(Overflow())
    with pytest.raises(
        NonFiniteLossError, match=r"backbone\.conv\.weight .* iteration 8 \(epoch 2"
    ):
        runner.train()
    assert not (tmp_path / "epoch_2.pth").exists()


def test_a_term_is_read_from_the_device_only_every_interval(monkeypatch):
    hook, looks = NonFiniteLossHook(interval=4), []
    as_on_a_device(monkeypatch)
    monkeypatch.setattr(hook, "_look", lambda runner: looks.append(runner.iter + 1))

    class Fake:
        hooks: list = []

    for Fake.iter in range(10):
        hook.after_train_iter(Fake, 0, outputs=dict(loss=torch.tensor(1.0)))
    assert looks == [4, 8]


def one_of_two_ranks_sees_a_nan(rank, size, folder):
    """What each rank raises when only rank 1's loss is NaN at iteration 3."""
    hook = NonFiniteLossHook(interval=4)

    class Fake:
        hooks: list = []
        max_epochs = None
        message_hub = type("Hub", (), dict(runtime_info={}))

    try:
        for Fake.iter in range(8):
            value = float("nan") if (rank, Fake.iter) == (1, 2) else 1.0
            hook.after_train_iter(
                Fake, 0, outputs=dict(loss_nce=torch.tensor(value), loss_x=torch.tensor(1.0))
            )
    except NonFiniteLossError as error:
        return Fake.iter + 1, str(error)
    return None


def test_all_ranks_stop_together_when_one_sees_a_nan(tmp_path):
    first, second = run_processes(one_of_two_ranks_sees_a_nan, 2, str(tmp_path))
    assert first == second
    assert first[0] == 4
    assert "loss_nce became NaN or infinite at iteration 3" in first[1]


def test_intervals_below_one_are_refused():
    with pytest.raises(ValueError, match="got 0"):
        NonFiniteLossHook(interval=0)


def test_it_comes_before_the_hook_that_saves(tmp_path):
    runner: Runner = tiny_runner.build(tmp_path, hooks=[dict(type="NonFiniteLossHook")])
    names = [type(hook).__name__ for hook in runner.hooks]
    assert names.index("NonFiniteLossHook") < names.index("CheckpointHook")
