# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Commands in processes of their own that have the stack already, as forks of a server.

A fresh Python imports it for five seconds. Tests whose claim is the start itself begin one.
"""

import contextlib
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import reduction
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch.multiprocessing as mp

from .conftest import instances_restored
from .multiprocess import start_server
from .no_network import sitecustomize
from .tool_modules import TOOLS, import_tool, run_tool


class Forked:
    """Takes the place of `subprocess.Popen` for a Python program and its words.

    `streams` are numbers of open files; `path` is what it imports from, too.
    """

    def __init__(
        self,
        command: Sequence[Any],
        env=None,
        pass_fds: Sequence[int] = (),
        start_new_session: bool = False,
        streams: Sequence[int] = (1, 2),
        path: Sequence[str] = (),
    ) -> None:
        start_server()
        words, environment = [*map(str, command[1:])], dict(os.environ if env is None else env)
        place = os.getcwd(), start_new_session, list(path)
        given = words, environment, *place, [*map(_Handle, streams)], [*map(_Handle, pass_fds)]
        self._process = mp.get_context("forkserver").Process(target=_carry_out, args=given)
        self._process.start()
        self.args, self.pid = command, self._process.pid

    def __enter__(self) -> "Forked":
        return self

    def __exit__(self, *_) -> None:
        self.wait()

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(self.args, timeout)
        return self.returncode

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)


class _Handle:
    """An open file of this process, that is the child's under the number which it gets there."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __reduce__(self):
        return _received, (reduction.DupFd(self.number),)


def _received(handle) -> int:
    return handle.detach()


def _carry_out(
    words: list[str],
    environment: dict,
    folder: str,
    session: bool,
    path: list[str],
    streams: list[int],
    held: list[int],
) -> None:
    """Runs a program as `python words` does; `held` are open as long as this process lives."""
    if session:
        os.setsid()
    os.chdir(folder)
    for number, stream in enumerate(streams, 1):
        os.dup2(stream, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    # A child of the server would have a server of its own start its loaders' workers, and import
    # the stack for them; a fresh Python forks them.
    mp.set_start_method(None, force=True)
    if sitecustomize.NOTES in environment:  # a fresh Python would have begun with it
        sys.addaudithook(sitecustomize.listen)
    sys.argv, sys.path[:0] = words, [str(Path(words[0]).parent), *path]
    runpy.run_path(words[0], run_name="__main__")


@contextlib.contextmanager
def _streams_in(files) -> Iterator[None]:
    """This process's two streams go to files, those of the processes that it starts as well."""
    kept = [os.dup(number) for number in (1, 2)]
    try:
        for number, file in enumerate(files, 1):
            os.dup2(file.fileno(), number)
        with contextlib.redirect_stdout(files[0]), contextlib.redirect_stderr(files[1]):
            yield
    finally:
        for number, one in enumerate(kept, 1):
            os.dup2(one, number)
            os.close(one)


def _completed(words: Sequence[Any], run: Callable[[], int]) -> subprocess.CompletedProcess:
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile("w+", buffering=1)) for _ in range(2)]
        with _streams_in(files):
            status = run()
        for file in files:
            file.seek(0)
        return subprocess.CompletedProcess(words, status, *[file.read() for file in files])


def command(tool: str, *words: Any) -> subprocess.CompletedProcess:
    """Runs a tool of tools/ to its end, in a fork."""
    return run_program(TOOLS / f"{tool}.py", *words)


def run_program(program: Path, *words: Any) -> subprocess.CompletedProcess:
    """Runs a program of Python to its end, in a fork."""
    return _completed(words, lambda: Forked([sys.executable, program, *words]).wait())


def pretrain(*words: Any) -> subprocess.CompletedProcess:
    """Runs pretrain.py to its end: the looking and choosing here, the training in a fork."""
    tool = import_tool("pretrain")
    with pytest.MonkeyPatch.context() as patch, instances_restored():
        train_in_a_fork(tool, patch)
        return _completed(words, lambda: run_tool(tool, patch, *words))


def transfer(*words: Any) -> subprocess.CompletedProcess:
    """Runs transfer.py to its end: in this process, its trainings and tests in forks."""
    tool = import_tool("transfer")

    def run(command, env):
        return SimpleNamespace(returncode=Forked(command, env=env).wait())

    with pytest.MonkeyPatch.context() as patch, instances_restored():
        patch.setattr(tool, "subprocess", SimpleNamespace(run=run))
        return _completed(words, lambda: run_tool(tool, patch, *words))


def train_in_a_fork(tool: ModuleType, patch: pytest.MonkeyPatch) -> None:
    """Lets pretrain.py start its training as a fork."""
    patch.setattr(tool, "subprocess", SimpleNamespace(Popen=Forked))
