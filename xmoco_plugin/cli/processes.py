# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How one command starts another, in processes of their own."""

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

DOOR = Path(__file__).with_name("__main__.py")
LAUNCHER = Path(__file__).with_name("launcher.py")
AGAIN = 10.0  # seconds after which a second SIGTERM is meant; launchers repeat the first


def command(name: str, arguments: Sequence[str], processes: int = 1) -> list[str]:
    """Returns the command line that runs `xmoco name arguments` on this interpreter.

    Several processes are those of this machine; NNODES, NODE_RANK, MASTER_ADDR and PORT are read
    from the environment as tools/dist_train.sh reads them.
    """
    if processes == 1:
        return [sys.executable, str(DOOR), name, *arguments]
    run = [sys.executable, str(LAUNCHER), str(processes), str(DOOR), name]
    return [*run, "--launcher", "pytorch", *arguments]


@contextlib.contextmanager
def asked_too(training: subprocess.Popen) -> Iterator[None]:
    """Within it SIGUSR1, which asks for a checkpoint, is handed on to a training."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or not hasattr(signal, "SIGUSR1"):
        yield
        return
    ask = lambda number, frame: training.send_signal(number)  # noqa: E731
    before = signal.signal(signal.SIGUSR1, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


class _EndNow(BaseException):
    """A further SIGTERM is meant: no checkpoint is waited for."""


def end(training: subprocess.Popen, alone: bool) -> None:
    """Ends a training: a terminal's Ctrl-C has reached it too, else it is asked, at last made to.

    A SIGTERM came to this process `alone`: the training has all the time that its step and its
    checkpoint take, until a further SIGTERM. Several processes are ended by torchrun, which gives
    them 30 seconds; it is killed only when it has had the time.
    """
    try:
        if alone:
            _ask(training)
        else:
            with contextlib.suppress(subprocess.TimeoutExpired):
                training.wait(3)
                return
            training.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            training.wait(40)
    finally:  # a second Ctrl-C as well
        training.kill()


def _ask(training: subprocess.Popen) -> None:
    """Hands SIGTERM on, and each further one; waits for the end, or for one that is meant."""
    began = time.monotonic()

    def again(number: int, frame: object) -> None:
        training.terminate()
        if time.monotonic() - began >= AGAIN:
            raise _EndNow

    ours = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, again) if ours else None
    try:
        training.terminate()
        with contextlib.suppress(_EndNow):
            training.wait()
    finally:
        if ours:
            signal.signal(signal.SIGTERM, before)
