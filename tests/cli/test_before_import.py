# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a command sets and shows before it imports the hosts."""

import gc
import importlib
import io
import os
import sys
import time
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import pytest

from xmoco_plugin.cli import before_import

DOOR = Path(before_import.__file__).with_name("door.py")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("own", "found"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_sleep_from_the_first_import_on_unless_the_user_says_else(
    monkeypatch, own, found
):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_WAIT_POLICY", own)
    seen, whole = [], importlib.import_module

    def import_module(name: str, package: str | None = None):
        if package is not None:  # of the options, which import no host
            return whole(name, package)
        seen.append(os.environ.get("OMP_WAIT_POLICY"))
        return SimpleNamespace(run=lambda module, args: 0)

    run = run_path(str(DOOR))["run"]
    monkeypatch.setattr(importlib, "import_module", import_module)
    assert run("runs", ["."], "xmoco runs") == 0
    assert seen[0] == found


def test_what_was_imported_is_not_looked_through_for_garbage(monkeypatch):
    done, whole = [], importlib.import_module

    def import_module(name: str, package: str | None = None):
        if package is not None:
            return whole(name, package)
        return SimpleNamespace(run=lambda module, args: done.append("run") or 0)

    run = run_path(str(DOOR))["run"]
    monkeypatch.setattr(importlib, "import_module", import_module)
    monkeypatch.setattr(gc, "freeze", lambda: done.append("freeze"))
    assert run("runs", ["."], "xmoco runs") == 0
    assert done == ["freeze", "run"]


def stderr_of(monkeypatch, stream: io.StringIO, seconds: float) -> str:
    monkeypatch.setattr(before_import, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", stream)
    with before_import.sign_of_life("xmoco train"):
        time.sleep(seconds)
    return stream.getvalue()


def test_a_start_that_takes_its_time_says_so_on_a_terminal_and_clears_the_line(monkeypatch):
    said = stderr_of(monkeypatch, Terminal(), 0.5)
    assert said == "xmoco train: starting ...\r\x1b[K"


def test_a_fast_start_and_one_without_a_terminal_say_nothing(monkeypatch):
    monkeypatch.setattr(before_import, "PATIENCE_SECONDS", 60.0)
    assert stderr_of(monkeypatch, io.StringIO(), 0.2) == ""
    monkeypatch.setattr(before_import.threading.Timer, "start", lambda self: self.cancel())
    monkeypatch.setattr(before_import.threading.Timer, "join", lambda self: None)
    assert stderr_of(monkeypatch, Terminal(), 0.0) == ""
