# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How a command ends the training that it has started."""

import os
import signal
import subprocess

import pytest

from xmoco_plugin.cli import processes


class Training:
    """In place of a process that takes as long as one waits, or ends when it is told again."""

    def __init__(self, told_again: bool = False) -> None:
        self.told_again, self.done = told_again, []

    def wait(self, seconds=None) -> None:
        self.done.append(f"wait {seconds}")
        if self.told_again and seconds is None:
            os.kill(os.getpid(), signal.SIGTERM)
        if seconds is not None:
            raise subprocess.TimeoutExpired("train", seconds)

    def terminate(self) -> None:
        self.done.append("terminate")

    def kill(self) -> None:
        self.done.append("kill")


@pytest.fixture(autouse=True)
def as_before():
    before = signal.getsignal(signal.SIGTERM)
    yield
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_training_that_is_told_alone_has_the_time_that_it_takes():
    training = Training()
    processes.end(training, alone=True)
    assert training.done[:2] == ["terminate", "wait None"]


def test_a_launchers_second_sigterm_is_handed_on_and_the_training_waited_for():
    training = Training(told_again=True)
    processes.end(training, alone=True)
    assert training.done[:3] == ["terminate", "wait None", "terminate"]


def test_a_second_sigterm_that_is_meant_is_handed_on_and_ends_the_waiting(monkeypatch):
    monkeypatch.setattr(processes, "AGAIN", 0.0)
    training = Training(told_again=True)
    processes.end(training, alone=True)
    assert training.done == ["terminate", "wait None", "terminate", "wait 40", "kill"]


def test_after_ctrl_c_a_training_that_does_not_end_is_told_and_then_made_to():
    training = Training()
    processes.end(training, alone=False)
    assert training.done == ["wait 3", "terminate", "wait 40", "kill"]
