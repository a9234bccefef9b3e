# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/dist_train.sh: two nodes train, are killed, and resume where they were."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from xmoco_plugin.checkpoint import read_checkpoint

from .free_port import free_port
from .tools_config import BATCH, CONFIG, IMAGES, QUEUE, draw

ROOT = Path(__file__).resolve().parents[1]

# Leaves each rank's state where the loop starts; holds the run before its second epoch.
WITNESS = """
import os, time
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

@HOOKS.register_module()
class Witness(Hook):
    priority = 'VERY_LOW'

    def __init__(self, folder, hold=False):
        self.folder, self.hold = folder, hold

    def before_train(self, runner):
        torch.save(dict(
            epoch=runner.epoch, iter=runner.iter, lr=runner.optim_wrapper.get_lr()['lr'],
            state=runner.model.module.state_dict(),
            optimizer=runner.optim_wrapper.state_dict()), f'{self.folder}/start{get_rank()}.pth')

    def before_train_epoch(self, runner):
        if self.hold and runner.epoch == 1:
            with open(f'{self.folder}/held{get_rank()}.tmp', 'w') as f:
                f.write(str(os.getpid()))
            os.rename(f.name, f'{self.folder}/held{get_rank()}')
            time.sleep(300)
"""


def start_node(rank: int, port: int, config: Path, folder: Path, *options: str) -> subprocess.Popen:
    """Starts tools/dist_train.sh as node `rank` of two, its output in a file."""
    env = os.environ | {
        "PYTHON": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]),
        "OMP_NUM_THREADS": "1",
        "NNODES": "2",
        "NODE_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1",
        "PORT": str(port),
    }
    command = ["bash", str(ROOT / "tools" / "dist_train.sh"), str(config), "1", *options]
    with open(folder / f"node{rank}.log", "a") as log:
        return subprocess.Popen(
            command, env=env, cwd=folder, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )


@pytest.mark.slow
def test_two_nodes_killed_and_resumed_go_on_where_they_were(tmp_path):
    config = draw(tmp_path)
    (tmp_path / "witness.py").write_text(WITNESS)
    config.write_text(
        CONFIG.replace("'xmoco_plugin'", "'xmoco_plugin', 'witness'")
        + f"custom_hooks = [dict(type='Witness', folder={str(tmp_path)!r})]\n"
    )
    options = ["--work-dir", str(tmp_path / "work"), "--data-root", str(tmp_path / "images")]
    logs = lambda: "".join((tmp_path / f"node{r}.log").read_text()[-3000:] for r in (0, 1))  # noqa: E731
    port = free_port()
    nodes = [
        start_node(r, port, config, tmp_path, *options, "--cfg-options", "custom_hooks.0.hold=True")
        for r in (0, 1)
    ]
    workers: list[int] = []
    try:
        deadline = time.monotonic() + 300
        while len(workers) < 2:
            assert time.monotonic() < deadline, logs()
            assert all(node.poll() is None for node in nodes), logs()
            held = [tmp_path / f"held{r}" for r in (0, 1)]
            workers = [int(path.read_text()) for path in held if path.exists()]
            time.sleep(0.2)
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        for node in nodes:
            node.kill()
            node.wait(timeout=60)

    saved = read_checkpoint(tmp_path / "work" / "epoch_1.pth")
    assert not (tmp_path / "work" / "epoch_2.pth").exists()
    first = read_checkpoint(tmp_path / "start0.pth")
    assert first["epoch"] == 0

    port = free_port()
    nodes = [start_node(r, port, config, tmp_path, *options, "--resume") for r in (0, 1)]
    try:
        assert [node.wait(timeout=300) for node in nodes] == [0, 0], logs()
    finally:
        for node in nodes:
            node.kill()

    steps = IMAGES // (2 * BATCH)
    for rank in (0, 1):
        start = read_checkpoint(tmp_path / f"start{rank}.pth")
        assert (start["epoch"], start["iter"]) == (1, steps)
        assert start["lr"] == pytest.approx([0.002])
        assert int(start["state"]["queue_ptr"]) == steps * 2 * BATCH % QUEUE
        # All of it: encoder, key encoder and its step count, queue and its pointer.
        assert start["state"].keys() == saved["state_dict"].keys()
        for key, value in start["state"].items():
            assert torch.equal(value, saved["state_dict"][key]), key
        buffers = start["optimizer"]["state"]
        assert buffers.keys() == saved["optimizer"]["state"].keys()
        for index, buffer in buffers.items():
            expected = saved["optimizer"]["state"][index]["momentum_buffer"]
            assert torch.equal(buffer["momentum_buffer"], expected)
    # What was restored had moved: the queue from its first fill, the key encoder from its start.
    for key in ("queue", "encoder_k.module.0.conv1.weight"):
        assert not torch.equal(saved["state_dict"][key], first["state"][key]), key
    final = read_checkpoint(tmp_path / "work" / "epoch_2.pth")
    assert (final["meta"]["epoch"], final["meta"]["iter"]) == (2, 2 * steps)


# The threads that are left when the interpreter begins to take itself apart.
THREADS = """
import sys
from pathlib import Path
from xmoco_plugin.cli import common, train
status = common.run(train.main)
print([file.read_text().strip() for file in Path('/proc/self/task').glob('*/comm')])
sys.exit(status)
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="reads Linux's list of threads")
def test_no_thread_of_the_process_group_outlives_a_run(tmp_path):
    config = draw(tmp_path)
    rank = dict(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1")
    address = dict(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()))
    options = ["--launcher", "pytorch", "--work-dir", "work", "--data-root", "images"]
    done = subprocess.run(
        [sys.executable, "-c", THREADS, config, *options],
        env=os.environ | rank | address | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "work/epoch_2.pth").exists()
    threads = done.stdout.splitlines()[-1]
    assert threads.startswith("['")
    assert "gloo" not in threads
