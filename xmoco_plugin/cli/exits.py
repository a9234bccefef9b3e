# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How a tool ends: well, by an error that its user can mend, by Ctrl-C, or by a fault."""

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import torch

from xmoco_plugin._host_loading import weights_only_everywhere
from xmoco_plugin.cli.agent import leave_job
from xmoco_plugin.cli.user_errors import (
    GO_ON,
    GOES_ON,
    LOST_ANOTHER,
    RESUMES,
    lost_another,
    user_message,
)
from xmoco_plugin.distributed import restarts
from xmoco_plugin.hooks import OthersUnlikeError
from xmoco_plugin.untrusted import printable_output
from xmoco_plugin.untrusted.streams import escape_controls

USER_ERROR = 2  # exit status, as argparse's own
LOST = 3  # another process of a training is gone; the launcher says which
PATIENCE = 3  # seconds; so long the one that is at fault may take to end first
STOPPED = 130  # as a shell's after Ctrl-C
TERMINATED = 143  # as a shell's after SIGTERM
STOPS = (STOPPED, TERMINATED)  # of who was stopped by its user
PARENT = "XMOCO_TOOL_PARENT"  # set where another tool started this one and speaks for both


class Terminated(KeyboardInterrupt):
    """SIGTERM, which SLURM, Docker and systemd send: it ends a tool as Ctrl-C does."""


def speaks() -> bool:
    """Whether this process speaks for its command: the first, which no other command started."""
    return os.environ.get("RANK", "0") == "0" and PARENT not in os.environ


def run(main: Callable[[], None]) -> int:
    """Runs `main`; returns the exit status, 2 and only a message where the user can mend it.

    Ctrl-C ends with status 130, SIGTERM with 143, and with what `main` put into the
    KeyboardInterrupt: how to go on.
    Names are anybody's: control characters reach neither the terminal nor a log.
    """
    with printable_output(), _heed_sigterm():
        return _run(main)


@contextlib.contextmanager
def _heed_sigterm() -> Iterator[None]:
    """Lets SIGTERM raise :class:`Terminated`, where nobody else has said what it does."""
    unset = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if not unset or threading.current_thread() is not threading.main_thread():
        yield
        return
    owner = os.getpid()

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        if os.getpid() != owner:  # a forked worker, which its pool ends in this way
            os.kill(os.getpid(), number)
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _run(main: Callable[[], None]) -> int:
    if not faulthandler.is_enabled():
        faulthandler.enable()  # where native code crashed, in Python's lines
    try:
        with weights_only_everywhere():
            main()
    except Exception as error:
        if lost_another(error):
            then = GOES_ON if restarts() else GO_ON
            print(f"error: {LOST_ANOTHER}{then}", file=sys.stderr, flush=True)
            with contextlib.suppress(KeyboardInterrupt):  # the launcher's SIGTERM
                time.sleep(PATIENCE)
            leave(LOST)
        message = user_message(error)
        if isinstance(error, OthersUnlikeError):
            print(f"warning: {escape_controls(str(error))}", file=sys.stderr, flush=True)
            leave(LOST)
        if message is None:
            raise
        # On a terminal too: an error moves no cursor and has no colour.
        print(f"error: {escape_controls(message)}", file=sys.stderr, flush=True)
        leave_job()
        if in_group():
            leave(USER_ERROR)
        return USER_ERROR
    except KeyboardInterrupt as stop:
        status = TERMINATED if isinstance(stop, Terminated) else STOPPED
        if speaks():
            # torchrun asks in the same way, whether it is to end or has found another machine.
            again = RESUMES if restarts() and isinstance(stop, Terminated) else ""
            said = escape_controls(str(stop)) or "stopped"
            print(f"{said}{again}", file=sys.stderr, flush=True)
        if in_group():
            leave(status)
        return status
    else:
        # Runner, model and hooks refer to each other, and DDP to its process group: without this it
        # outlives its destruction below, and gloo's threads run on while the interpreter takes
        # itself apart. Not after an error: the group would wait for what the others never send.
        gc.collect()
    finally:
        if in_group():
            torch.distributed.destroy_process_group()
    return 0


def in_group() -> bool:
    """Whether this is one of several processes."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def leave(status: int) -> NoReturn:
    """Ends one of several processes at once: its group's end may wait for what never comes."""
    sys.stdout.flush()
    os._exit(status)
