# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Checkpoints of a real Runner, while the disk is full or the machine goes down at a moment."""

import errno
import os
from pathlib import Path

import pytest
from mmengine.hooks import CheckpointHook
from mmengine.runner import checkpoint as host

from xmoco_plugin import _host_writing, checkpoint
from xmoco_plugin.checkpoint import NotWrittenError
from xmoco_plugin.cli.runners import add_hooks
from xmoco_plugin.hooks import WholeCheckpointHook
from xmoco_plugin.untrusted import last_checkpoint
from xmoco_plugin.weights.whole import fault

from .. import tiny_runner


class PowerCut(BaseException):
    """Nothing of the process runs after it."""


def runner(folder, validate=False, epochs=4, **options):
    hook = dict(type="CheckpointHook", interval=1, **options)
    built = tiny_runner.build(
        folder,
        validate=validate,
        default_hooks=dict(checkpoint=hook),
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
    )
    add_hooks(built)
    return built


def look(folder) -> dict[str, bool]:
    """The checkpoints that stand, and whether each is whole."""
    return {file.name: fault(file) is None for file in Path(folder).glob("*.pth")}


def test_at_every_rename_and_removal_a_power_cut_leaves_a_whole_checkpoint_that_is_named(
    tmp_path, monkeypatch
):
    seen = []

    def watch(act):
        def watched(*arguments):
            pointer = Path(tmp_path, "last_checkpoint")
            if pointer.exists():
                assert fault(last_checkpoint(tmp_path)) is None
            standing = look(tmp_path)
            assert all(standing.values())
            seen.append((act.__name__, set(standing)))
            return act(*arguments)

        return watched

    monkeypatch.setattr(os, "replace", watch(os.replace))
    monkeypatch.setattr(os, "remove", watch(os.remove))
    runner(tmp_path, validate=True, max_keep_ckpts=1, save_best="accuracy/top1").train()
    assert set(look(tmp_path)) >= {"epoch_4.pth"}
    removals = [files for act, files in seen if act == "remove"]
    epochs = [sorted(f for f in files if f.startswith("epoch")) for files in removals]
    assert ["epoch_1.pth", "epoch_2.pth"] in epochs  # the successor stands
    assert len([f for f in look(tmp_path) if f.startswith("best")]) == 1
    assert not [f for f in tmp_path.iterdir() if f.name.startswith(".")]


def test_the_best_checkpoint_goes_after_its_successor_stands(tmp_path, monkeypatch):
    built = runner(tmp_path, validate=True, epochs=1, save_best="accuracy/top1")
    built.train()
    hook = next(h for h in built.hooks if isinstance(h, WholeCheckpointHook))
    (old,) = tmp_path.glob("best_*.pth")

    def cut(*_, **__):
        raise PowerCut

    monkeypatch.setattr(_host_writing, "write_atomic", cut)
    built._train_loop._epoch = 2
    with pytest.raises(PowerCut):
        hook.after_val_epoch(built, {"accuracy/top1": 1e9})
    assert fault(old) is None


def test_a_full_disk_ends_with_a_sentence_and_what_stood_stands(tmp_path, monkeypatch):
    whole, calls = checkpoint.os.fsync, []

    def fsync(descriptor):
        calls.append(descriptor)
        if Path(tmp_path, "epoch_2.pth").exists() and os.fstat(descriptor).st_size > 10_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(NotWrittenError, match=r"epoch_3\.pth cannot be written: the disk is full"):
        runner(tmp_path, max_keep_ckpts=1).train()
    assert look(tmp_path) == {"epoch_2.pth": True}
    assert last_checkpoint(tmp_path).name == "epoch_2.pth"
    assert not [f for f in tmp_path.iterdir() if f.name.endswith(".tmp")]


def test_a_folder_that_is_gone_ends_with_a_sentence(tmp_path):
    built = runner(tmp_path / "run")
    assert built.train_loop is not None  # it is built when it is asked for, as `train` does
    built.call_hook("before_run")
    built.call_hook("before_train")
    hook = next(h for h in built.hooks if isinstance(h, WholeCheckpointHook))
    os.rename(tmp_path / "run", tmp_path / "elsewhere")
    with pytest.raises(NotWrittenError, match=r"last_checkpoint cannot be written: .*run is gone"):
        hook.after_train_epoch(built)
    assert not (tmp_path / "run").exists()


def test_the_best_checkpoint_does_not_make_a_renamed_folder_anew(tmp_path):
    built = runner(tmp_path / "run", validate=True, epochs=1, save_best="accuracy/top1")
    built.train()
    hook = next(h for h in built.hooks if isinstance(h, WholeCheckpointHook))
    os.rename(tmp_path / "run", tmp_path / "elsewhere")
    with pytest.raises(NotWrittenError, match="run is gone"):
        hook.after_val_epoch(built, {"accuracy/top1": 1e9})
    assert not (tmp_path / "run").exists()


def test_a_hook_of_the_users_own_is_left_alone(tmp_path):
    class Own(CheckpointHook):
        pass

    built = tiny_runner.build(tmp_path)
    built.hooks[:] = [Own() if type(h) is CheckpointHook else h for h in built.hooks]
    add_hooks(built)
    assert any(type(hook) is Own for hook in built.hooks)
    assert not any(isinstance(hook, WholeCheckpointHook) for hook in built.hooks)


def test_what_the_host_saves_by_itself_is_whole_or_not_there(tmp_path, monkeypatch):
    target = tmp_path / "new" / "weights.pth"
    host.save_checkpoint({"state_dict": {}}, str(target))
    before = target.read_bytes()

    def cut(*_):
        raise PowerCut

    monkeypatch.setattr(os, "replace", cut)
    with pytest.raises(PowerCut):
        host.save_checkpoint({"state_dict": {"a": 1}}, str(target))
    assert target.read_bytes() == before
