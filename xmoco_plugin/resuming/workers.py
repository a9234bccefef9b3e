# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Workers of a loader that a scheduler's signals to all processes of a job do not end."""

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from torch.utils.data import DataLoader


def spare_workers(loader: Any) -> None:
    """Let a loader's workers pass over SIGTERM and SIGUSR1 unless their own process sends them.

    A worker that ends takes its training with it in the middle of a step. Where the system does not
    tell who has sent a signal (it is Linux that does), nothing changes.
    """
    known = isinstance(loader, DataLoader) and loader.num_workers > 0
    if known and hasattr(signal, "sigwaitinfo"):
        loader.worker_init_fn = partial(_spare, loader.worker_init_fn)


def _spare(then: Callable[[int], None] | None, worker: int) -> None:
    numbers = (signal.SIGTERM, signal.SIGUSR1)
    # All threads of this process have them blocked: they reach the one that waits for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    threading.Thread(target=_obey, args=(os.getppid(), numbers), daemon=True).start()
    if then is not None:
        then(worker)


def _obey(parent: int, numbers: tuple) -> None:
    while True:
        found = signal.sigwaitinfo(numbers)
        if found.si_pid == parent and found.si_signo == signal.SIGTERM:
            os._exit(0)
