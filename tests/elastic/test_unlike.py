# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Who leaves, and who goes on from where, when a machine is unlike the others."""

import os
from pathlib import Path

import pytest

from xmoco_plugin.cli import agent
from xmoco_plugin.cli.global_batch import first_ones
from xmoco_plugin.hooks import OthersUnlikeError
from xmoco_plugin.hooks import same_everywhere_hook as alike

from .. import tiny_runner
from ..multiprocess import run_processes


def unlike(rank: int, size: int, folder: str) -> dict:
    """What each process is told where the second has other code than the training began with."""
    told = {}
    ours = alike.code_digest
    for began, restarts in (("first", "3"), ("nobody", "3"), ("first", "0"), ("place", "3")):
        os.environ[agent.RESTARTS] = restarts
        alike.code_digest = ours
        runner = tiny_runner.build(f"{folder}/{began}{restarts}")
        hook = alike.SameEverywhereHook()
        digest = alike.digest_of(alike.facts_of(runner))
        # The batch of a process and the place are another's.
        runner._resume = True
        hook.after_load_checkpoint(
            runner, {alike.BEGAN_WITH: "0123" if began == "nobody" else digest}
        )
        if rank and began == "place":
            runner.train_loop._iter = 9
        elif rank:
            alike.code_digest = lambda: "0123456789ab"
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
    if rank:
        Path.is_file = lambda _: False  # in this process, which ends
    try:
        first_ones(Path(folder, "new.pth"))
    except (ValueError, OthersUnlikeError) as error:
        found.append([type(error).__name__, str(error)])
    return found


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> tuple:
    folder = tmp_path_factory.mktemp("unlike")
    return folder, run_processes(unlike, 2, str(folder))


def test_of_unlike_machines_the_one_leaves_that_is_not_as_the_training_began(told):
    (stays, leaves) = (found["first3"] for found in told[1])
    assert leaves[0] == "UnlikeProcessesError"
    assert stays[0] == "OthersUnlikeError"
    differ = leaves[1].removesuffix(" Make them alike and start again.")
    assert "(0123456789ab) there" in differ
    assert stays[1].startswith(f"{differ} Whoever is unlike")


@pytest.mark.parametrize("case", ["nobody3", "first0", "place3"])
def test_all_end_where_all_or_none_are_as_it_began_or_nothing_starts_again(told, case):
    assert [found[case][0] for found in told[1]] == ["UnlikeProcessesError"] * 2


def test_all_go_on_from_what_the_first_process_has_found(told):
    folder, found = told
    for latest in (part["latest"] for part in found):
        assert latest[:2] == [str(folder / "new.pth"), "None"]
        assert "on a disk that all of them see" in latest[2]


def test_who_sees_no_checkpoint_leaves_and_nobody_waits_for_it(told):
    stays, leaves = (part["latest"][3] for part in told[1])
    assert leaves[0] == "ValueError"
    assert stays == ["OthersUnlikeError", stays[1]]
    assert "new.pth, from which all go on, is not on every machine" in stays[1]


def facts(batch: int = 4, place: str = "0 iterations", lr: str = "0.1") -> dict:
    settings = {"train_dataloader.batch_size": str(batch), "optim_wrapper.lr": lr}
    return {"": "process 0", alike.SETTINGS: settings, alike.PLACE: place, "the libraries": "x"}


def test_what_a_training_began_with_is_the_same_on_any_number_of_processes_and_at_any_step():
    began = alike.digest_of(facts())
    assert began == alike.digest_of(facts(batch=2, place="9 iterations") | {"": "process 1"})
    assert began != alike.digest_of(facts(lr="0.2"))


def test_processes_that_go_on_from_different_places_are_told():
    told = alike.difference([facts(), facts(place="9 iterations")])
    assert "what is behind the training: 9 iter" in told
