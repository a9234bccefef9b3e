# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""SIGTERM and SIGUSR1 while a training runs: SLURM's and spot machines' notice."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

from xmoco_plugin.cli.processes import AGAIN
from xmoco_plugin.hooks import TimedCheckpointHook


@contextlib.contextmanager
def heeded(hook: TimedCheckpointHook | None) -> Iterator[None]:
    """Within it SIGUSR1 asks for a checkpoint, and SIGTERM for one and the end.

    Between steps, as in a validation, SIGTERM ends at once as it did before: nothing would write
    the checkpoint in time.
    """
    if hook is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    owner, before = os.getpid(), signal.getsignal(signal.SIGTERM)
    came: list[float] = []

    def stop(number: int, frame: object) -> None:
        ours = os.getpid() == owner  # or a forked worker's
        came.append(time.monotonic())
        if ours and hook.stepping and came[-1] - came[0] < AGAIN:
            hook.ask(stop=True)
            return
        signal.signal(number, before if ours else signal.SIG_DFL)
        signal.raise_signal(number)

    def write(number: int, frame: object) -> None:
        if os.getpid() == owner:
            hook.ask()

    handlers = {signal.SIGTERM: stop}
    if hasattr(signal, "SIGUSR1"):
        handlers[signal.SIGUSR1] = write
    kept = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
