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

from xmoco_plugin.cli import agent, door, launcher
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
        return str(place)  # comes at once; a tensor is fetched, if its worker lives


def with_a_killed_worker(rank, size):
    """What a user is told."""
    loader = torch.utils.data.DataLoader(Killed(), batch_size=2, num_workers=1)
    try:
        list(loader)
    except RuntimeError as error:
        return user_message(error)
    finally:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return "no error"


def test_a_worker_that_was_killed_is_said_with_what_to_lower():
    # Not in this process: torch raises the error again whenever another child of it ends.
    (said,) = run_processes(with_a_killed_worker, 1)
    assert said.startswith("a process that loads images (")
    assert "memory ran out" in said
    assert "--workers" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("fault", [EOFError(), ConnectionResetError(104, "reset by peer")])
def test_a_worker_that_was_killed_before_its_batch_was_fetched_is_said_too(fault):
    class Gone:
        def detach(self):
            raise fault

    with pytest.raises(type(fault)) as error:
        torch.multiprocessing.reductions.rebuild_storage_fd(torch.UntypedStorage, Gone(), 4)
    assert user_message(error.value).startswith("a process that loads images ended, or was killed.")
    assert user_message(type(fault)("elsewhere")) is None


def test_a_full_shared_memory_is_not_called_memory():
    text = (
        "DataLoader worker (pid 12) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory. Please try to raise your shared memory."
    )
    assert "--shm-size" in lost_worker(WORKER.search(text), text)


def test_a_worker_that_a_launcher_ends_has_no_fault():
    text = "DataLoader worker (pid 12) is killed by signal: Terminated. "
    assert lost_worker(WORKER.search(text), text).endswith("(12) was told to end (SIGTERM).")


def raised(first, second, *after):
    """The second error, raised while the first was handled."""
    try:
        try:
            raise first
        except type(first):
            if after:
                raise second from after[0]
            raise second  # noqa: B904, which is what is asked
    except type(second) as error:
        return error


def test_no_permission_is_said_of_a_file_and_hides_no_fault_that_has_nothing_to_do_with_it():
    closed = PermissionError(13, "Permission denied", "/mnt/a")
    assert user_message(raised(closed, KeyError("x"))).startswith("/mnt/a: no permission.")
    assert user_message(raised(KeyError("x"), KeyError("y"), closed)).startswith("/mnt/a: no perm")
    assert user_message(raised(closed, KeyError("x"), None)) is None
    assert user_message(raised(closed, KeyError("x"), KeyError("y"))) is None
    assert user_message(PermissionError(1, "Operation not permitted")) is None


def test_a_signal_goes_on_where_a_thread_ends_while_it_is_asked(tmp_path, monkeypatch):
    (tmp_path / "1/children").mkdir(parents=True)  # an OSError, as of a thread that is gone
    (tmp_path / "2").mkdir()
    (tmp_path / "2/children").write_text("12 13 ")
    sent = []
    monkeypatch.setattr(launcher, "Path", lambda _: tmp_path)
    monkeypatch.setattr(launcher.os, "kill", lambda *words: sent.append(words))
    launcher.hand_on(signal.SIGUSR1, None)
    assert sent == [(12, signal.SIGUSR1), (13, signal.SIGUSR1)]


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


def facts(root="/a", lr=0.1, workers=4, **loader):
    """Of a process whose data, weights and workers are its machine's own."""
    data = dict(type="X", data_root=root, ann_file=f"{root}/list.txt", pipeline=[dict(type="A")])
    own = dict(num_workers=workers, pin_memory=workers > 4, persistent_workers=workers > 4)
    start = dict(type="Pretrained", checkpoint=f"{root}/w.pth")
    return alike.settings_of(
        Config(
            dict(
                train_dataloader=dict(batch_size=4, dataset=data, **own, **loader),
                optim_wrapper=dict(lr=lr),
                model=dict(type="M", backbone=dict(init_cfg=start)),
            )
        )
    )


def test_the_settings_are_alike_wherever_data_and_weights_lie_and_however_many_load():
    assert facts("/a") == facts("/b", workers=8) != facts("/a", lr=0.2)


def test_the_first_setting_that_differs_is_named_with_both_values():
    def told(**changed):
        here, there = (
            {"": "a", alike.SETTINGS: facts()},
            {"": "b", alike.SETTINGS: facts(**changed)},
        )
        return alike.difference([here, there])

    assert "the settings: optim_wrapper.lr is 0.2 there, 0.1 here." in told(lr=0.2)
    drop = "train_dataloader.drop_last is true there, nothing here."
    assert drop in told(drop_last=True)
    assert told(lr=0.2, drop_last=True).count("and 1 more") == 1
    long = told(sampler="x" * 500)
    assert len(long) < 400


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


def runs(status):
    """Whether a process is there, and no zombie; it may go while it is asked."""
    try:
        return "State:\tZ" not in status.read_text()
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells nobody there")
def test_a_process_ends_with_its_launcher_however_that_ends():
    code = LAUNCHED.format(name=agent.OURS, file=door.__file__)
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as launched:
        child = int(launched.stdout.readline())
        launched.kill()
    status, end = Path(f"/proc/{child}/status"), time.monotonic() + 30
    while runs(status):
        assert time.monotonic() < end
        time.sleep(0.02)


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
