# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a scheduler sends to all processes of a job reaches the training, not loaders' workers."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch.utils.data import DataLoader, Dataset

from xmoco_plugin.resuming import spare_workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="tells who has sent a signal")
SENT = "import os, sys; [os.kill(int(sys.argv[1]), int(n)) for n in sys.argv[2:]]"


class Slow(Dataset):
    """Its images take a while each."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[int, int]:
        time.sleep(0.05)
        return index, os.getpid()


def send(worker: int, *numbers: int) -> None:
    """From a process that is neither the worker nor its parent, as a scheduler is."""
    subprocess.run([sys.executable, "-S", "-c", SENT, *map(str, (worker, *numbers))], check=True)


def test_workers_pass_over_a_foreign_sigterm_and_end_by_their_own_processs():
    loader = DataLoader(Slow(), batch_size=2, num_workers=1, collate_fn=list)
    spare_workers(loader)
    batches = iter(loader)
    images = next(batches)
    worker = images[0][1]
    assert worker != os.getpid()
    send(worker, signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM)
    rest = [image for batch in batches for image in batch]
    assert [index for index, _ in images + rest] == list(range(8))
    assert {process for _, process in rest} == {worker}

    loader = DataLoader(Slow(), batch_size=1, num_workers=1, collate_fn=list)
    spare_workers(loader)
    batches = iter(loader)
    worker = next(batches)[0][1]
    os.kill(worker, signal.SIGTERM)
    process = batches._workers[0]
    process.join(timeout=20)
    assert process.exitcode == 0
    del batches


@pytest.mark.host_free  # on both stacks the same requests are walked in one process and in two
def test_sigusr1_to_torchrun_writes_a_checkpoint_in_the_processes_and_they_go_on(tmp_path):
    root = Path(__file__).parents[2]
    launcher = root / "xmoco_plugin/cli/launcher.py"
    words = [sys.executable, launcher, "2", "-m", "tests.resuming.launched", tmp_path]
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [str(word) for word in words],
        env=env,
        cwd=root,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    ranks = sorted(done.stdout.split("\n"))
    assert [line for line in ranks if line.startswith("rank")] == [
        "rank 0: 4 steps, epoch_1_iter_3.pth",
        "rank 1: 4 steps, epoch_1_iter_3.pth",
    ]
    assert [file.name for file in tmp_path.glob("*.pth")] == ["epoch_1_iter_3.pth"]
