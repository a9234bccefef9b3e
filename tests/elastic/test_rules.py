# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is refused of machines that come and go, and what is said and done once."""

import importlib
import os
import signal
import subprocess
import sys

import pytest
from mmengine.config import Config

import xmoco
from xmoco_plugin import distributed
from xmoco_plugin.cli import agent, exits, launcher
from xmoco_plugin.cli.global_batch import share_batch
from xmoco_plugin.cli.sharded import refuse_sharded

from ..free_port import free_port

TRAIN = ["train.py", "config.py", "--launcher", "pytorch"]


def shares(images: int, processes: int) -> int:
    cfg = Config(dict(train_dataloader=dict(batch_size=32)))
    share_batch(cfg, images, processes)
    return cfg.train_dataloader.batch_size


def test_each_process_gets_its_share_of_the_global_batch():
    assert [shares(24, n) for n in (1, 2, 3, 24)] == [24, 12, 8, 1]


@pytest.mark.parametrize(
    ("images", "processes", "said"),
    [
        (8, 3, "Start 1, 2, 4 or 8 processes, or take another number of images, such as 9."),
        (2, 4, "Start 1 or 2 processes, or take another number of images, such as 4."),
        (1, 2, "Start 1 processes"),
        (4096, 3, "Start 1, 2, 4, 8, 16, 32, 64, ... or 1024 processes"),
    ],
)
def test_a_batch_that_cannot_be_shared_names_the_numbers_that_would_do(images, processes, said):
    with pytest.raises(
        ValueError, match=f"^--global-batch {images}: {processes} processes"
    ) as error:
        shares(images, processes)
    assert said in str(error.value)


def test_a_loader_that_makes_its_own_batches_is_not_changed_unseen():
    with pytest.raises(
        ValueError, match=r"train_dataloader\.batch_size, which this config has not"
    ):
        share_batch(Config(dict(train_dataloader=dict(batch_sampler=dict()))), 8, 1)


@pytest.mark.parametrize(
    ("nodes", "words", "said"),
    [
        ("2", [], None),
        ("1:4", ["--resume", "--global-batch", "96"], None),
        ("1:2", ["--resume", "auto", "--global-batch=96"], None),
        ("1:4", ["--resume", "--global-batch=256"], "24 processes cannot share it equally"),
        ("1:4", ["--resume", "--global-batch=256"], "a multiple of 96, such as 288"),
        ("1:4", ["--resume", "--global-batch=8"], "such as 96"),
        ("1:4", ["--global-batch", "96"], "need --resume"),
        ("1:4", ["--resume"], "and --global-batch N"),
        ("1:4", ["--resume", "--global-batch"], "and --global-batch N"),
        ("4:1", ["--resume", "--global-batch", "96"], "fewest and most machines"),
        ("0:2", ["--resume", "--global-batch", "96"], "fewest and most machines"),
        (":", ["--resume", "--global-batch", "96"], "fewest and most machines"),
        ("1-2", ["--resume", "--global-batch", "96"], "fewest and most machines"),
        ("1:4:2", ["--resume", "--global-batch", "96"], "fewest and most machines"),
        ("1:100", ["--resume", "--global-batch", "96"], "No batch of up to 1,000,000 suits all"),
    ],
)
def test_a_range_of_machines_is_refused_before_any_process_starts(monkeypatch, nodes, words, said):
    monkeypatch.setenv("NNODES", nodes)
    monkeypatch.setenv("MASTER_ADDR", "host0")
    found = launcher.mistake("8", [*TRAIN, *words])
    assert found is None if said is None else said in str(found)


def test_machines_that_do_not_know_where_they_meet_do_not_train_each_alone(monkeypatch):
    words = [*TRAIN, "--resume", "--global-batch", "96"]
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    for nodes, refused in (("1:4", True), ("1:1", False), ("2", False)):
        monkeypatch.setenv("NNODES", nodes)
        assert (launcher.mistake("8", words) is not None) == refused
    monkeypatch.setenv("NNODES", "2:4")
    assert launcher.mistake("8", words).startswith("NNODES=2:4 needs MASTER_ADDR, ")


def test_a_range_of_machines_meets_where_master_addr_says(monkeypatch):
    for name in ("JOB", "MAX_RESTARTS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in dict(NNODES="1:4", MASTER_ADDR="host0", PORT="29501").items():
        monkeypatch.setenv(name, value)
    words = launcher.options("8")
    pairs = dict(zip(words[::2], words[1::2], strict=True))
    assert pairs["--rdzv_endpoint"] == "host0:29501"
    assert pairs["--nnodes"] == "1:4"
    assert int(pairs["--max_restarts"]) > 0
    assert "--node_rank" not in words  # nobody's: the machines are counted anew each time


SCRIPT = """
import runpy, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit("asked to end while it does"))
print("what the user must mend", flush=True)
runpy.run_path({agent!r})["leave_job"]()
time.sleep(1)
sys.exit(2)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR2"), reason="the launcher is told by a signal")
def test_what_only_the_user_can_mend_is_said_once_and_not_tried_again(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.format(agent=agent.__file__))
    done = subprocess.run(
        [sys.executable, launcher.__file__, "1", "script.py", "--resume", "--global-batch", "4"],
        cwd=tmp_path,
        env=os.environ
        | dict(
            NNODES="1:2",
            MASTER_ADDR="127.0.0.1",
            PORT=str(free_port()),
            PET_RDZV_CONF="last_call_timeout=1",
        )
        | dict(OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout.count("what the user must mend") == 1
    assert "Traceback" not in done.stderr
    assert "asked to end" not in done.stderr


def test_a_launcher_that_does_not_start_again_is_left_alone(monkeypatch):
    told = []
    monkeypatch.setattr(agent.os, "kill", lambda *words: told.append(words))
    monkeypatch.setattr(agent.signal, "signal", lambda *_: None)
    monkeypatch.setattr(agent.os, "getppid", lambda: 7)
    for restarts, ours in (("0", "7"), ("3", "7"), ("3", "8")):
        monkeypatch.setenv(agent.RESTARTS, restarts)
        monkeypatch.setenv(agent.OURS, ours)
        before = len(told)
        agent.leave_job()
        assert distributed.restarts() == (len(told) > before)  # they look at the same
    assert told == [(7, agent.SAID), (7, signal.SIGTERM)]
    monkeypatch.setattr(agent.os, "getppid", lambda: 1)
    agent.leave_job()
    assert len(told) == 2


@pytest.mark.parametrize("mistake", ["a command", "the stack"])
def test_what_is_said_before_the_hosts_are_there_is_not_tried_again_either(
    monkeypatch, capsys, tmp_path, mistake
):
    ours = importlib.import_module

    def lacks(name, package=None):
        if name == "xmoco_plugin":
            raise ImportError("no stack", name="xmoco_plugin._stack")
        return ours(name, package)

    left, door = [], xmoco.door()
    monkeypatch.setattr(door["load"]("agent"), "leave_job", lambda: left.append(1))
    monkeypatch.setattr(importlib, "import_module", lacks)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # or the door sets it
    assert door["main"](["trian" if mistake == "a command" else "runs", str(tmp_path)]) == 2
    assert left == [1]
    assert capsys.readouterr().err.startswith("error: ")


def test_who_is_stopped_is_told_that_torchrun_goes_on_where_it_does(monkeypatch, capsys):
    def said(kind: type, restarts: str) -> str:
        def stops() -> None:
            raise kind("stopped; how to go on")

        monkeypatch.setenv(agent.RESTARTS, restarts)
        exits.run(stops)
        return capsys.readouterr().err

    for name in ("RANK", exits.PARENT):
        monkeypatch.delenv(name, raising=False)
    for kind, restarts in ((exits.Terminated, "0"), (KeyboardInterrupt, "3")):
        assert said(kind, restarts) == "stopped; how to go on\n"
    assert said(exits.Terminated, "3") == (
        "stopped; how to go on (torchrun goes on by itself where a machine has come or gone)\n"
    )


def test_no_answer_names_the_place_and_what_must_stay(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "host0")
    monkeypatch.setenv("PORT", "29501")
    assert "no answer from host0:29501" in launcher.unmet(ConnectionError())
    closed = type("RendezvousClosedError", (Exception,), {})
    assert "has ended, or was given up" in launcher.unmet(closed())


@pytest.mark.parametrize(
    "setting",
    [
        dict(optim_wrapper=dict(optimizer=dict(type="ZeroRedundancyOptimizer"))),
        dict(optim_wrapper=dict(a=[dict(type="mmengine.ZeroRedundancyOptimizer")])),
        dict(strategy=dict(type="FSDPStrategy")),
        dict(runner_type="FlexibleRunner"),
    ],
)
def test_an_optimizer_or_model_in_parts_is_refused_with_the_reason(setting):
    with pytest.raises(ValueError, match=r"first process alone|whole weights"):
        refuse_sharded(Config(setting))


def test_whole_optimizers_pass():
    refuse_sharded(Config(dict(optim_wrapper=dict(optimizer=dict(type="AdamW")))))
