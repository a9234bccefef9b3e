# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Processes that are lost, and processes that are not alike: said in a sentence, with a way out."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from xmoco_plugin.cli import door, launcher
from xmoco_plugin.cli.user_errors import WORKER, lost_another, lost_worker, user_message
from xmoco_plugin.hooks import same_everywhere_hook as alike
from xmoco_plugin.hooks import timed_checkpoint_hook

from .. import tiny_runner
from ..multiprocess import run_processes


class Killed(torch.utils.data.Dataset):
    """Its worker is killed at the fourth image, as where memory runs out."""

    def __len__(self):
        return 8

    def __getitem__(self, place):
        if place == 4:
            os.kill(os.getpid(), signal.SIGKILL)
        return place


def test_a_worker_that_was_killed_is_said_with_what_to_lower():
    loader = torch.utils.data.DataLoader(Killed(), batch_size=2, num_workers=1)
    with pytest.raises(RuntimeError) as error:
        list(loader)
    said = user_message(error.value)
    assert said.startswith("a process that loads images (")
    assert "memory ran out" in said
    assert "--workers" in said
    assert len(said.splitlines()) == 1


def test_a_full_shared_memory_is_not_called_memory():
    text = (
        "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory. Please try to raise your shared memory."
    )
    assert "--shm-size" in lost_worker(WORKER.search(text), text)


def test_a_worker_that_a_launcher_ends_has_no_fault():
    text = "DataLoader worker (pid 12) is killed by signal: Terminated. "
    assert lost_worker(WORKER.search(text), text).endswith("(12) was told to end (SIGTERM).")


def test_gloos_wall_about_a_lost_process_is_known_and_other_faults_are_not(monkeypatch):
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    gloo = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer"
    assert lost_another(RuntimeError(f"{gloo} [127.0.0.1]:22248"))
    assert not lost_another(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not lost_another(ValueError(gloo))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: False)
    assert not lost_another(RuntimeError(gloo))


def one_of_two_is_unlike(rank, size, folder):
    """What each is told where the second has one image less, other code or another place."""
    told, ours = {}, alike.code_digest
    for part in ("code", "data", "place"):
        images = 15 if rank and part == "data" else 16
        alike.code_digest = (lambda: "0123456789ab") if rank and part == "code" else ours
        place = f"{folder}/{part}{rank if part == 'place' else ''}"
        runner = tiny_runner.build(place, train_dataloader=tiny_runner.loader(size=images))
        try:
            alike.SameEverywhereHook().before_train(runner)
        except alike.UnlikeProcessesError as error:
            told[part] = str(error)
    return told


def test_two_processes_with_other_code_or_data_are_told_before_the_first_step(tmp_path):
    first, second = run_processes(one_of_two_is_unlike, 2, str(tmp_path))
    assert first == second
    assert set(first) == {"code", "data"}
    assert all(said.startswith("process 1 on ") for said in first.values())
    assert "the version of this package: " in first["code"]
    assert "(0123456789ab) there" in first["code"]
    assert "the training data: 15 images" in first["data"]
    assert first["data"].endswith("Make them alike and start again.")


def test_the_settings_are_alike_wherever_the_data_lie():
    def digest(root, lr=0.1):
        data = dict(type="X", data_root=root, ann_file=f"{root}/list.txt")
        loader = dict(batch_size=4, dataset=data)
        return alike.settings_digest(
            Config(dict(train_dataloader=loader, optim_wrapper=dict(lr=lr)))
        )

    assert digest("/a") == digest("/b") != digest("/a", lr=0.2)


def test_a_file_of_another_size_is_other_data(tmp_path):
    class Images:
        def __len__(self):
            return 3

        def get_data_info(self, place):
            return dict(img_path=str(tmp_path / f"{place}.png"))

    for place in range(3):
        (tmp_path / f"{place}.png").write_bytes(b"x" * 9)
    before = alike.data_digest(Images())
    (tmp_path / "2.png").write_bytes(b"x" * 8)
    assert alike.data_digest(Images()) != before


LAUNCHED = """
import os, subprocess, sys, time
os.environ[{name!r}] = str(os.getpid())
code = "import runpy, time; runpy.run_path({file!r})['end_with_launcher'](); "
child = subprocess.Popen(
    [sys.executable, "-c", code + "print(1, flush=True); time.sleep(600)"], stdout=subprocess.PIPE
)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells nobody there")
def test_a_process_ends_with_its_launcher_however_that_ends():
    code = LAUNCHED.format(name=door.LAUNCHER, file=door.__file__)
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as launched:
        child = int(launched.stdout.readline())
        launched.kill()
    status, end = Path(f"/proc/{child}/status"), time.monotonic() + 30
    while status.exists() and "State:\tZ" not in status.read_text():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert door.LAUNCHER == launcher.OURS


def test_where_gloo_finds_no_way_its_own_wall_becomes_the_name_of_the_variable(monkeypatch):
    def fails(**_):
        raise RuntimeError("[gloo/transport/tcp/pair.cc] connect [127.0.1.1]: Connection refused")

    monkeypatch.setattr(torch.distributed, "new_group", fails)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_backend", lambda: "nccl")
    with pytest.raises(timed_checkpoint_hook.NoGlooError) as error:
        timed_checkpoint_hook._gloo_group()
    assert "127.0.1.1" in user_message(error.value)
    assert "set GLOO_SOCKET_IFNAME" in user_message(error.value)
    assert not lost_another(error.value)
