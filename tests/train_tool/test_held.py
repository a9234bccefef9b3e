# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A training in the folder of a `pretrain`: one of both works there at a time."""

import contextlib

import pytest

from xmoco_plugin.cli import exits, train
from xmoco_plugin.pretraining import LOCK, PretrainError, RunLock, run_lock


@pytest.fixture(autouse=True)
def alone(monkeypatch):
    monkeypatch.delenv(exits.PARENT, raising=False)
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(run_lock, "PATIENCE", 0.0)


def test_a_training_is_refused_where_pretrain_works_and_the_other_way_round(tmp_path):
    with RunLock(tmp_path), pytest.raises(PretrainError, match="is being worked on by"):
        train.hold(tmp_path, contextlib.ExitStack())
    with contextlib.ExitStack() as holds:
        train.hold(tmp_path, holds)
        with pytest.raises(PretrainError, match="is being worked on by"):
            RunLock(tmp_path)
    with RunLock(tmp_path):  # let go of at the end
        pass


@pytest.mark.parametrize("name", [exits.PARENT, "RANK"])
def test_the_training_that_pretrain_starts_and_other_processes_of_one_hold_nothing(
    monkeypatch, tmp_path, name
):
    monkeypatch.setenv(name, "1")
    with RunLock(tmp_path), contextlib.ExitStack() as holds:
        train.hold(tmp_path, holds)


def test_another_folder_is_not_touched(tmp_path):
    with contextlib.ExitStack() as holds:
        train.hold(tmp_path, holds)
        train.hold(tmp_path / "not there", holds)
    assert not (tmp_path / LOCK).exists()
    assert not (tmp_path / "not there").exists()
