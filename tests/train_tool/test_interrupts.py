# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Ctrl-C while tools/train.py runs."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from ..forked import Forked
from ..tool_modules import ROOT, heed_ctrl_c, wait_for_file
from ..tools_config import CONFIG

WAITS = """
import time
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

@HOOKS.register_module()
class Waits(Hook):
    def __init__(self, epoch, begun, until_asked=False):
        self.epoch, self.begun, self.until_asked = epoch, begun, until_asked

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.epoch == self.epoch:
            open(self.begun, "w").close()
            end = time.monotonic() + 60
            while time.monotonic() < end and not (
                self.until_asked and any(getattr(hook, "_asked", 0) for hook in runner.hooks)
            ):
                time.sleep(0.05)
"""


def interrupted(arguments: list, path: str, ready: Path) -> tuple[int, str, str]:
    """Starts a tool, sends it Ctrl-C once `ready` is there; returns how it ended."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    try:
        wait_for_file(ready, process, 120)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, printed, said


def interrupted_fork(
    arguments: list, path: Path, ready: Path, number: int = signal.SIGINT
) -> tuple[int, str, str]:
    """The same for a tool that has its hosts already; `path` is where else it imports from."""
    files = [ready.with_suffix(ending) for ending in (".out", ".err")]
    with open(files[0], "w") as out, open(files[1], "w") as err:
        streams = out.fileno(), err.fileno()
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        program = [sys.executable, *arguments]
        with Forked(program, env, path=[str(path)], streams=streams) as process:
            try:
                wait_for_file(ready, process, 120)
                process.send_signal(number)
                status = process.wait(60)
            finally:
                process.kill()
    return status, *[file.read_text() for file in files]


def test_ctrl_c_ends_training_with_one_line_that_says_how_to_go_on(config, images, tmp_path):
    work = tmp_path / "work"
    train = [ROOT / "tools" / "train.py", config, "--data-root", images, "--work-dir", work]
    train += ["--cfg-options", "train_cfg.max_epochs=3"]
    # Always at the same place: in some (an object's end, a callback of the garbage collector)
    # Python passes over an interrupt.
    (tmp_path / "waits.py").write_text(WAITS)
    ends = {}
    for epoch in (1, 0):
        begun = tmp_path / f"begun_{epoch}"
        hook = dict(type="Waits", epoch=epoch, begun=str(begun))
        config.write_text(
            CONFIG.replace("'xmoco_plugin'", "'xmoco_plugin', 'waits'") + f"custom_hooks = [{hook}]"
        )
        status, printed, said = interrupted_fork(train, tmp_path, begun)
        assert status == 130
        assert "Traceback" not in printed + said
        ends[epoch] = said.splitlines()[-1]
    newest = (work / "last_checkpoint").read_text()
    assert ends[1] == f"stopped; the same command with --resume goes on from {newest}"
    # The newest is not the second run's, so it is not what to go on from.
    assert ends[0].startswith("stopped before the first checkpoint")


def test_sigterm_writes_a_checkpoint_after_the_step_and_says_how_to_go_on(config, images, tmp_path):
    work, begun = tmp_path / "work", tmp_path / "begun"
    (tmp_path / "waits.py").write_text(WAITS)
    hook = dict(type="Waits", epoch=0, begun=str(begun), until_asked=True)
    config.write_text(
        CONFIG.replace("'xmoco_plugin'", "'xmoco_plugin', 'waits'") + f"custom_hooks = [{hook}]"
    )
    train = [ROOT / "tools" / "train.py", config, "--data-root", images, "--work-dir", work]
    train += ["--checkpoint-minutes", 60]
    status, printed, said = interrupted_fork(train, tmp_path, begun, signal.SIGTERM)
    assert status == 143
    assert "Traceback" not in printed + said
    written = work / "epoch_0_iter_1.pth"
    assert said.splitlines()[-1].endswith(f"with --resume goes on from {written}")
    assert written.is_file()


def test_ctrl_c_while_the_hosts_are_imported_leaves_no_traceback(config, tmp_path):
    ready = tmp_path / "ready"
    (tmp_path / "torch.py").write_text(f"import time\nopen({str(ready)!r}, 'w')\ntime.sleep(60)\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    status, printed, said = interrupted([ROOT / "tools" / "train.py", config], path, ready)
    assert (status, printed, said) == (-signal.SIGINT, "", "")
