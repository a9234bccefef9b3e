# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Run by torchrun: a tiny training of which the second process signals the launcher once."""

import gc
import os
import signal
import sys
import time
from pathlib import Path

import torch.distributed as dist
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from tests import tiny_runner
from xmoco_plugin.cli.runners import timed_checkpoints
from xmoco_plugin.cli.stop_signals import heeded
from xmoco_plugin.hooks.timed_checkpoint_hook import NOTHING

from .test_processes import WRAPPER


@HOOKS.register_module(force=True)
class SignalLauncher(Hook):
    """After the third step: to the launcher; and waits until what it hands on has come back."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        timed = timed_checkpoints(runner)
        if runner.iter + 1 == 3:
            if get_rank() == 1:
                os.kill(os.getppid(), signal.SIGUSR1)
            while timed._asked == NOTHING:
                time.sleep(0.01)


def main(folder: Path) -> None:
    dist.init_process_group("gloo")  # which the host leaves as it is
    hooks = [dict(type=kind) for kind in ("TimedCheckpointHook", "ExactResumeHook")]
    hooks.append(dict(type="SignalLauncher"))
    runner = tiny_runner.build(folder, hooks=hooks, default_hooks=dict(checkpoint=None), **WRAPPER)
    timed = timed_checkpoints(runner)
    with heeded(timed):
        runner.train()
    # In one write: of two prints the ends of the lines may come last.
    line = f"rank {get_rank()}: {runner.iter} steps, {Path(str(timed.written)).name}\n"
    sys.stdout.flush()
    os.write(sys.stdout.fileno(), line.encode())
    del runner, timed
    gc.collect()  # as in cli/exits.py: or gloo's threads outlive the group
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
