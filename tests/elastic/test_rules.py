# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is refused of machines that come and go, and who leaves where one is unlike the others."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.config import Config

from xmoco_plugin.cli import agent, launcher
from xmoco_plugin.cli.global_batch import first_ones, share_batch
from xmoco_plugin.cli.sharded import refuse_sharded
from xmoco_plugin.hooks import OthersUnlikeError
from xmoco_plugin.hooks import same_everywhere_hook as alike

from .. import tiny_runner
from ..free_port import free_port
from ..multiprocess import run_processes

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
        ("1:4:2", ["--resume", "--global-batch", "96"], "fewest and most machines"),
    ],
)
def test_a_range_of_machines_is_refused_before_any_process_starts(monkeypatch, nodes, words, said):
    monkeypatch.setenv("NNODES", nodes)
    found = launcher.mistake("8", [*TRAIN, *words])
    assert found is None if said is None else said in str(found)


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
        | dict(NNODES="1:2", PORT=str(free_port()), PET_RDZV_CONF="last_call_timeout=1")
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
        agent.leave_job()
    assert told == [(7, agent.SAID), (7, signal.SIGTERM)]
    monkeypatch.setattr(agent.os, "getppid", lambda: 1)
    agent.leave_job()
    assert len(told) == 2


def test_no_answer_names_the_place_and_what_must_stay(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "host0")
    monkeypatch.setenv("PORT", "29501")
    assert "no answer from host0:29501" in launcher.unmet(ConnectionError())
    closed = type("RendezvousClosedError", (Exception,), {})
    assert "has ended, or was given up" in launcher.unmet(closed())


def unlike(rank: int, size: int, folder: str) -> dict:
    """What each process is told where the second has other code than the training began with."""
    told = {}
    ours = alike.code_digest
    for began, restarts in (("first", "3"), ("nobody", "3"), ("first", "0")):
        os.environ[agent.RESTARTS] = restarts
        alike.code_digest = ours
        runner = tiny_runner.build(f"{folder}/{began}{restarts}")
        hook = alike.SameEverywhereHook()
        digest = alike.digest_of(alike.facts_of(runner))
        # The batch of a process and the place are another's.
        runner._resume = True
        hook.after_load_checkpoint(
            runner, {alike.BEGAN_WITH: digest if began == "first" else "0123"}
        )
        alike.code_digest = (lambda: "0123456789ab") if rank else ours
        try:
            hook.before_train(runner)
        except (alike.UnlikeProcessesError, OthersUnlikeError) as error:
            told[began + restarts] = [type(error).__name__, str(error)]
    os.environ.pop(agent.RESTARTS)
    told["latest"] = latest_of(rank, folder)
    return told


def latest_of(rank: int, folder: str) -> list:
    """What each goes on from where the second sees an older file, or the first one's not at all."""
    Path(folder, "new.pth").touch()
    found = [str(first_ones(Path(folder, "new.pth" if rank == 0 else "old.pth")))]
    found.append(str(first_ones(None)))
    try:
        first_ones(Path(folder, "gone.pth"))
    except ValueError as error:
        found.append(str(error))
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> tuple:
    folder = tmp_path_factory.mktemp("unlike")
    return folder, run_processes(unlike, 2, str(folder))


def test_of_unlike_machines_the_one_leaves_that_is_not_as_the_training_began(told):
    (stays, leaves) = (found["first3"] for found in told[1])
    assert leaves[0] == "UnlikeProcessesError"
    assert stays[0] == "OthersUnlikeError"
    assert stays[1].startswith(leaves[1])
    assert "(0123456789ab) there" in leaves[1]


@pytest.mark.parametrize("case", ["nobody3", "first0"])
def test_all_end_where_none_is_as_it_began_or_nothing_starts_again(told, case):
    assert [found[case][0] for found in told[1]] == ["UnlikeProcessesError"] * 2


def test_all_go_on_from_what_the_first_process_has_found(told):
    folder, found = told
    for latest in (part["latest"] for part in found):
        assert latest[:2] == [str(folder / "new.pth"), "None"]
        assert "on a disk that all of them see" in latest[2]


def facts(batch: int = 4, place: str = "0 iterations", lr: str = "0.1") -> dict:
    settings = {"train_dataloader.batch_size": str(batch), "optim_wrapper.lr": lr}
    return {"": "process 0", alike.SETTINGS: settings, alike.PLACE: place, "the libraries": "x"}


def test_what_a_training_began_with_is_the_same_on_any_number_of_processes_and_at_any_step():
    began = alike.digest_of(facts())
    assert began == alike.digest_of(facts(batch=2, place="9 iterations") | {"": "process 1"})
    assert began != alike.digest_of(facts(lr="0.2"))


def test_processes_that_go_on_from_different_places_are_told():
    with pytest.raises(alike.UnlikeProcessesError, match="what is behind the training: 9 iter"):
        alike.compare([facts(), facts(place="9 iterations")])


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
