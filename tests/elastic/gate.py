# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""For a config: holds a training where machines are to go and to come, and notes its steps."""

import json
import os
import time
from pathlib import Path

from mmengine.dist import all_gather_object, get_rank, get_world_size
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from tests import models  # noqa: F401  (its encoder without BatchNorm)
from xmoco_plugin.cli.runners import timed_checkpoints
from xmoco_plugin.hooks.timed_checkpoint_hook import NOTHING

GOES, COMES = 4, 5  # steps at which the second machine is killed, and another one waited for


@HOOKS.register_module(force=True)
class Gate(Hook):
    """Notes each step's images in FOLDER/steps.jsonl; waits at the two steps, on so many processes.

    At the first one until it is killed, in a file named after its launcher; at the second one until
    torchrun asks it to end, because another machine has come.
    """

    priority = "LOW"

    def __init__(self, folder: str, wait: bool = True) -> None:
        self.folder, self.wait = Path(folder), wait

    def before_train(self, runner) -> None:
        # The second machine is late: torchrun ends this process when it has come.
        while self.wait and get_world_size() == 1 and not (self.folder / "gone").exists():
            time.sleep(0.02)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        step, size = runner.iter + 1, get_world_size()
        own = [Path(sample.img_path).name for sample in data_batch["data_samples"]]
        names = sorted(name for part in all_gather_object(own) for name in part)
        if get_rank() == 0:
            with open(self.folder / "steps.jsonl", "a") as file:
                file.write(json.dumps([step, size, names]) + "\n")
        if not self.wait:
            return
        gone = self.folder / "gone"
        if size == 2 and step == GOES and not gone.exists():
            note(self.folder / f"held{os.getppid()}", str(os.getpid()))
            while not gone.exists():
                time.sleep(0.02)
        if size == 1 and step == COMES:
            note(self.folder / "alone", "")
            while timed_checkpoints(runner)._asked == NOTHING:
                time.sleep(0.02)


def note(file: Path, text: str) -> None:
    """Writes a file as a whole."""
    aside = file.with_suffix(f".{os.getpid()}")
    aside.write_text(text)
    aside.rename(file)
