# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run that was stopped, however it was, ends as the one that was not: bit for bit."""

import os
import signal
from pathlib import Path

import pytest
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from tests import models, tiny_runner
from xmoco_plugin.checkpoint import NotWrittenError
from xmoco_plugin.cli.runners import timed_checkpoints
from xmoco_plugin.cli.stop_signals import heeded
from xmoco_plugin.hooks import (
    NonFiniteLossError,
    PrefetchHook,
    StopRequested,
)

from . import runs


@HOOKS.register_module(force=True)
class PrefetchHere(PrefetchHook):
    """Prepares batches ahead where there is no stream."""

    def before_train(self, runner) -> None:
        self.replace_loader(runner, None)


DEVICE = dict(
    model=models.config(
        data_preprocessor=dict(
            type="TwoViewDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3, views=dict(size=8)
        )
    ),
    train_dataloader=tiny_runner.loader(views=False, drop_last=True),
)
SEED_OF_THE_HOST = dict(randomness=dict(seed=None))
ITERATIONS = dict(
    train_cfg=dict(type="IterBasedTrainLoop", max_iters=12, val_interval=4),
    train_dataloader=tiny_runner.loader(infinite=True),
    param_scheduler=[dict(type="CosineAnnealingLR", T_max=12, by_epoch=False)],
    default_hooks=dict(
        logger=dict(type="LoggerHook", interval=2),
        checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=4),
    ),
)
PASSES = ITERATIONS | dict(train_dataloader=tiny_runner.loader())
ACCUMULATED = dict(
    optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9), accumulative_counts=3)
)
KINDS = dict(host={}, device=DEVICE, iterations=ITERATIONS, passes=PASSES, accumulated=ACCUMULATED)
LAST = dict(iterations="iter_12.pth", passes="iter_12.pth")
WORKERS = dict(train_dataloader=tiny_runner.loader() | dict(num_workers=1, persistent_workers=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run of a kind that nothing has stopped."""
    done: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in done:
            done[kind] = tmp_path_factory.mktemp(kind)
            runs.run(done[kind], **KINDS[kind])
        return done[kind]

    return of


@pytest.mark.parametrize(("kind", "stop"), [("host", 9), ("accumulated", 6), ("device", 6)])
def test_a_killed_run_goes_on_from_its_last_epochs_end(whole, tmp_path, kind, stop):
    runs.run(tmp_path, stop=stop, **KINDS[kind])
    runs.run(tmp_path, resume=True, **KINDS[kind])
    name = LAST.get(kind, "epoch_3.pth")
    assert len(dict(runs.states(tmp_path, name))) > 100
    assert runs.unlike(whole(kind), tmp_path, name) == []


@pytest.mark.parametrize("kind", sorted(KINDS.keys() - {"device"}))
def test_a_run_stopped_within_an_epoch_goes_on_within_it(whole, tmp_path, kind):
    runs.run(tmp_path, ask=[5], **KINDS[kind])
    written = "epoch_1_iter_6" if kind == "accumulated" else "epoch_1_iter_5"
    if kind in LAST:
        written = "epoch_0_iter_5"
    assert Path((tmp_path / "last_checkpoint").read_text()) == tmp_path / f"{written}.pth"
    runs.run(tmp_path, resume=True, **KINDS[kind])
    assert runs.unlike(whole(kind), tmp_path, LAST.get(kind, "epoch_3.pth")) == []
    assert not list(tmp_path.glob("*_iter_*.pth"))  # gone when the epoch's own stood


def test_another_number_of_workers_changes_nothing(whole, tmp_path):
    runs.run(tmp_path, ask=[5])
    runs.run(tmp_path, resume=True, **WORKERS)
    assert runs.unlike(whole("host"), tmp_path) == []


def test_the_order_of_a_seed_that_nobody_named_is_kept(tmp_path):
    first = runs.run(tmp_path, ask=[5], **SEED_OF_THE_HOST)
    again = runs.run(tmp_path, resume=True, **SEED_OF_THE_HOST)
    assert first.train_dataloader.sampler.seed == again.train_dataloader.sampler.seed


@HOOKS.register_module(force=True)
class SignalAfter(Hook):
    """What a scheduler does: a signal, to the process and then by a launcher once more."""

    def __init__(self, iteration: int, number: int) -> None:
        self.iteration, self.number = iteration, number

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), self.number)
            os.kill(os.getpid(), self.number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_writes_a_checkpoint_at_once_and_sigterm_ends(tmp_path, number):
    hooks = [dict(type=kind) for kind in ("TimedCheckpointHook", "ExactResumeHook")]
    hooks.append(dict(type="SignalAfter", iteration=3, number=int(number)))
    runner = tiny_runner.build(tmp_path, hooks=hooks, default_hooks=dict(checkpoint=None))
    timed = timed_checkpoints(runner)
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)]
    with heeded(timed):
        if number == signal.SIGTERM:
            with pytest.raises(StopRequested):
                runner.train()
        else:
            runner.train()
    assert runner.iter == (2 if number == signal.SIGTERM else 8)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGUSR1)] == before
    assert [file.name for file in tmp_path.glob("*.pth")] == ["epoch_0_iter_3.pth"]


def test_the_clock_writes_one_and_the_one_before_goes(tmp_path):
    hooks = [dict(type="TimedCheckpointHook", minutes=1e-9), dict(type="ExactResumeHook")]
    hooks.append(dict(type="KillAfter", iterations=3))
    with pytest.raises(runs.Killed):
        tiny_runner.build(tmp_path, hooks=hooks).train()
    assert [file.name for file in tmp_path.glob("*.pth")] == ["epoch_0_iter_3.pth"]


def test_a_disk_that_is_full_leaves_the_checkpoint_before(tmp_path, monkeypatch, caplog):
    hooks = [dict(type="TimedCheckpointHook"), dict(type="AskAfter", iterations=[1, 2], stop=False)]
    runner = tiny_runner.build(tmp_path, hooks=hooks, default_hooks=dict(checkpoint=None))
    save = runner.save_checkpoint

    def full(folder, name, **options):
        if "iter_2" in name:
            raise OSError(28, "No space left on device")
        save(folder, name, **options)

    monkeypatch.setattr(runner, "save_checkpoint", full)
    runner.train()
    assert runner.iter == 8
    assert [file.name for file in tmp_path.glob("*.pth")] == ["epoch_0_iter_1.pth"]
    assert not list(tmp_path.glob(".*"))


@HOOKS.register_module(force=True)
class DoAfterEpoch(Hook):
    """Calls what a test gives, at an epoch's end or within an epoch."""

    act = staticmethod(lambda runner: None)

    def __init__(self, iteration: int = 0) -> None:
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if runner.iter + 1 == self.iteration:
            DoAfterEpoch.act(runner)

    def after_train_epoch(self, runner) -> None:
        if not self.iteration:
            DoAfterEpoch.act(runner)


def test_a_request_while_the_epochs_checkpoint_is_written_does_not_wait_for_the_validation(
    tmp_path, monkeypatch
):
    def ask(runner) -> None:
        timed_checkpoints(runner).ask(stop=True)

    monkeypatch.setattr(DoAfterEpoch, "act", staticmethod(ask))
    runner = runs.run(tmp_path, hooks=(dict(type="DoAfterEpoch"),))
    assert (runner.epoch, runner.iter) == (0, 4)
    assert [file.name for file in tmp_path.glob("*.pth")] == ["epoch_1.pth"]


def test_a_folder_that_was_renamed_ends_the_run_and_is_not_made_anew(tmp_path, monkeypatch):
    def rename(runner) -> None:
        os.rename(tmp_path / "run", tmp_path / "elsewhere")
        timed_checkpoints(runner).ask()

    monkeypatch.setattr(DoAfterEpoch, "act", staticmethod(rename))
    hooks = [dict(type="TimedCheckpointHook"), dict(type="DoAfterEpoch", iteration=2)]
    runner = tiny_runner.build(
        tmp_path / "run", hooks=hooks, default_hooks=dict(checkpoint=None, logger=None)
    )
    with pytest.raises(NotWrittenError, match=r"epoch_0_iter_2\.pth cannot .*run is gone"):
        runner.train()
    assert not (tmp_path / "run").exists()


def test_weights_that_overflowed_do_not_replace_a_good_checkpoint(tmp_path, monkeypatch):
    def overflow(runner) -> None:  # after a step whose loss was finite
        next(runner.model.parameters()).data.fill_(float("inf"))

    monkeypatch.setattr(DoAfterEpoch, "act", staticmethod(overflow))
    hooks = [dict(type=kind) for kind in ("TimedCheckpointHook", "NonFiniteLossHook")]
    hooks += [dict(type="AskAfter", iterations=[1, 3], stop=False)]
    hooks += [dict(type="DoAfterEpoch", iteration=3)]
    runner = tiny_runner.build(tmp_path, hooks=hooks, default_hooks=dict(checkpoint=None))
    good = tmp_path / "epoch_0_iter_1.pth"
    with pytest.raises(NonFiniteLossError, match=f"last good checkpoint is {good}"):
        runner.train()
    assert list(tmp_path.glob("*.pth")) == [good]
