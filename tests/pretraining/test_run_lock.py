# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Whom a refused start names, and what happens where nothing can be locked."""

import errno
import os
import socket
import subprocess
import sys

import pytest

from xmoco_plugin.pretraining import LOCK, PretrainError, RunLock, run_lock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="nothing is held there")
HERE = socket.gethostname()


@pytest.fixture
def child(tmp_path, monkeypatch):
    """A process that alone holds the folder."""
    monkeypatch.setattr(run_lock, "PATIENCE", 0)
    with RunLock(tmp_path) as lock:
        process = subprocess.Popen(["sleep", "600"], pass_fds=lock.handles)
    yield process.pid
    process.kill()
    process.wait()


@pytest.fixture
def dead() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def refusal(folder, *notes: tuple[int, str]) -> str:
    """What a start is told when the lock holds these notes."""
    (folder / LOCK).write_text("".join(f"process {pid} on {host}\n" for pid, host in notes))
    with pytest.raises(PretrainError) as error:
        RunLock(folder)
    return str(error.value)


def test_of_the_noted_only_the_living_are_named(tmp_path, child, dead):
    assert refusal(tmp_path, (dead, HERE), (child, HERE)) == (
        f"{tmp_path} is being worked on by process {child} on {HERE}: wait for its end, or stop "
        "it, or name another --out."
    )


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="open files cannot be seen")
def test_a_process_that_only_has_a_dead_ones_number_or_is_dead_but_not_buried_is_not_named(
    tmp_path, child
):
    zombie = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    assert zombie.stdout.read() == b""  # it has ended
    told = refusal(tmp_path, (os.getpid(), HERE), (zombie.pid, HERE), (child, HERE))
    zombie.wait()
    assert f"by process {child} on {HERE}: " in told


def test_where_no_noted_process_lives_the_message_says_that_some_other_holds_it(
    tmp_path, child, dead
):
    for notes in ([(dead, HERE)], []):
        told = refusal(tmp_path, *notes)
        assert "by some process that still holds it" in told
        assert f"`fuser {tmp_path / LOCK}`" in told
        assert str(dead) not in told.replace(str(tmp_path), "")


def test_of_another_machine_the_noted_are_said_to_be_there_and_no_more(tmp_path, child):
    told = refusal(tmp_path, (17, "gpu-2"), (18, "gpu-2"))
    assert "by a process on gpu-2 (17, 18, or one that they started): " in told


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_folder_that_cannot_be_locked_is_worked_on_after_one_warning(
    number, tmp_path, monkeypatch, capsys
):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(run_lock.fcntl, "flock", refuse)
    monkeypatch.setattr(run_lock.time, "sleep", lambda _: pytest.fail("it waits"))
    with RunLock(tmp_path) as lock:
        lock.note(1)
        assert lock.handles == ()
    assert capsys.readouterr().err == (
        f"warning: {tmp_path} cannot be locked here ({os.strerror(number)}): start one run at a "
        "time in it.\n"
    )


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES])
def test_the_numbers_that_mean_held_refuse(number, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(run_lock, "PATIENCE", 0)
    monkeypatch.setattr(run_lock.fcntl, "flock", refuse)
    with pytest.raises(PretrainError, match="is being worked on"):
        RunLock(tmp_path)
