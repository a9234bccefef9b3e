# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Two processes, stopped after the same step by a signal to one of them."""

import os
import tempfile
import time
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from xmoco_plugin.cli import train
from xmoco_plugin.cli.runners import timed_checkpoints

from ..multiprocess import run_processes
from . import runs

WRAPPER = dict(
    model_wrapper_cfg=dict(
        type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False
    ),
    launcher="pytorch",
)


@HOOKS.register_module(force=True)
class SlowToWrite(Hook):
    """As a large model on a network disk."""

    def before_save_checkpoint(self, runner, checkpoint) -> None:
        time.sleep(0.5)


def stopped_and_resumed(rank: int, size: int, folder: str) -> list:
    os.environ["LOCAL_RANK"] = str(rank)
    whole, cut = Path(folder, "whole"), Path(folder, "cut")
    runs.run(whole, **WRAPPER)
    # Only the second is asked.
    slow = (dict(type="SlowToWrite"),)
    stopped = runs.run(cut, ask=[5] if rank == 1 else None, hooks=slow, **WRAPPER)
    written = timed_checkpoints(stopped).written
    left = [written and Path(written).name, (cut / str(written)).is_file()]
    runs.run(cut, resume=True, **WRAPPER)
    unlike = runs.unlike(whole, cut) if rank == 0 else []
    return [stopped.iter, unlike, left]


def test_two_processes_stop_after_one_step_and_go_on_bit_for_bit():
    with tempfile.TemporaryDirectory() as folder:
        first, second = run_processes(stopped_and_resumed, 2, folder)
    assert first[0] == second[0] in (4, 5)
    assert first[1] == []
    # All know what was written, and none left before it was.
    done = first[0] + 1
    assert first[2] == second[2] == [f"epoch_{done // 2}_iter_{done}.pth", True]


def retried_from(rank: int, size: int, folder: str) -> list:
    """What each goes on from when the second does not see the first one's file."""
    good = str(Path(folder, "epoch_1.pth"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train.runners, "build_runner", lambda cfg, *_, **__: Resumed(cfg))
        patch.setattr(train, "run", lambda runner: None)
        cfg = Config(dict(load_from="another.pth", resume=True))
        train.retry(cfg, None, "NaN", good if rank == 0 else None)
    return [Path(cfg.load_from).name, cfg.resume]


class Resumed:
    """In place of a Runner."""

    def __init__(self, cfg) -> None:
        self.cfg = cfg

    def register_hook(self, hook) -> None:
        pass


def test_all_processes_try_again_from_the_first_ones_checkpoint(tmp_path):
    assert run_processes(retried_from, 2, str(tmp_path)) == [["epoch_1.pth", True]] * 2
