# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A machine is killed, the rest goes on, another one comes: the training is that of one process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from xmoco_plugin.checkpoint import read_checkpoint

from ..free_port import free_port
from ..tool_modules import ROOT, import_tool, run_tool, wait_for_file
from ..tools_config import CONFIG, draw
from .gate import COMES, GOES

BATCH, STEPS, EPOCHS = 8, 3, 3  # images a step of all processes; steps an epoch
CLOSE = 1e-5  # between weights near 0.3 whose sums were made in another order; ours
SECONDS = 240  # at most, for each part; a busy machine's


def settings(folder: Path, wait: bool) -> str:
    """Of a net without BatchNorm, so that the global batch alone decides."""
    backbone = "type='ResNet_CIFAR', depth=18, base_channels=4, stem_channels=4"
    text = CONFIG.replace(backbone, "type='TinyEncoder'").replace(
        "in_channels=32", "in_channels=16"
    )
    text = text.replace("queue_len=20", "queue_len=24").replace(
        "max_epochs=2", f"max_epochs={EPOCHS}"
    )
    text = text.replace("['xmoco_plugin']", "['xmoco_plugin', 'tests.elastic.gate']")
    return text + f"custom_hooks = [dict(type='Gate', folder={str(folder)!r}, wait={wait})]\n"


def start(config: Path, port: int, host: bool = False) -> subprocess.Popen:
    """A machine: tools/dist_train.sh with one process, its output in a file.

    On one machine any of them could be the host, at which all find each other; here one is told to.
    """
    env = os.environ | {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "NNODES": "1:2",
        "MASTER_ADDR": "127.0.0.1",
        "PORT": str(port),
        "PET_RDZV_CONF": f"last_call_timeout=2,is_host={int(host)}",  # torchrun's own
    }
    words = ["--work-dir", "work", "--data-root", "images", "--resume"]
    command = ["bash", str(ROOT / "tools/dist_train.sh"), str(config), "1", *words]
    with open(config.parent / "log", "a") as log:
        return subprocess.Popen(
            [*command, "--global-batch", str(BATCH)],
            env=env,
            cwd=config.parent,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )


def steps_of(folder: Path) -> list:
    return [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="torchrun's restarts are tested there alone")
def test_a_training_goes_on_without_a_machine_and_with_another_as_that_of_one_process(
    tmp_path, monkeypatch
):
    config = draw(tmp_path)
    config.write_text(settings(tmp_path, True))
    one, port = whole(tmp_path, monkeypatch), free_port()
    stays = start(config, port, host=True)
    machines = [stays, goes := start(config, port)]
    try:
        wait_for_file(held := tmp_path / f"held{goes.pid}", stays, SECONDS)
        os.kill(goes.pid, signal.SIGKILL)
        os.kill(int(held.read_text()), signal.SIGKILL)
        (tmp_path / "gone").touch()
        wait_for_file(tmp_path / "alone", stays, SECONDS)
        machines.append(comes := start(config, port))
        assert [stays.wait(SECONDS), comes.wait(SECONDS)] == [0, 0], (tmp_path / "log").read_text()
    finally:
        for machine in machines:
            machine.kill()
            machine.wait()

    # The step that was under way when the machine went is made once more, from the epoch's end.
    sizes = [(step, size) for step, size, _ in steps_of(tmp_path)]
    assert sizes == [
        *((step, 2) for step in range(1, GOES + 1)),
        *((step, 1) for step in range(STEPS + 1, COMES + 1)),
        *((step, 2) for step in range(COMES + 1, STEPS * EPOCHS + 1)),
    ]
    images = {step: names for step, _, names in steps_of(one)}
    assert all(images[step] == names for step, _, names in steps_of(tmp_path))
    name = f"work/epoch_{EPOCHS}.pth"
    ours, theirs = (read_checkpoint(folder / name)["state_dict"] for folder in (tmp_path, one))
    for key in ours:
        if not key.startswith("queue"):  # whose keys stand there in the order of the processes
            torch.testing.assert_close(ours[key], theirs[key], rtol=0, atol=CLOSE, msg=key)
    first = read_checkpoint(one / "work/epoch_1.pth")["state_dict"]
    moved = [(theirs[key] - first[key]).abs().max() for key in theirs if key.endswith("weight")]
    assert max(moved) > 100 * CLOSE  # or being close would say nothing


def whole(tmp_path: Path, monkeypatch) -> Path:
    """The folder of the same training, of one process and never stopped."""
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "tiny.py").write_text(settings(folder, False))
    words = ("--work-dir", folder / "work", "--data-root", tmp_path / "images")
    run = run_tool(
        import_tool("train"), monkeypatch, folder / "tiny.py", *words, "--global-batch", BATCH
    )
    assert run == 0
    return folder
