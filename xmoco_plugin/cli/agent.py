# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""torchrun as a process sees it that it has started: how to end it where it would start again."""

# Nothing but the standard library: also used before the hosts are imported.

import contextlib
import os
import signal

RESTARTS = "TORCHELASTIC_MAX_RESTARTS"  # torchrun's, for the processes that it starts
OURS = "XMOCO_LAUNCHER"  # with the number of our launcher, for the processes that it starts
SAID = signal.SIGUSR2 if hasattr(signal, "SIGUSR2") else signal.SIGTERM  # to ours: a user's error


def leave_job() -> None:
    """Ends the torchrun of this machine where it would start again what only the user can mend.

    By a signal: so the others are left alone. Where it gives up by itself, it ends their training.
    """
    if os.environ.get(RESTARTS, "0") in ("", "0"):  # as `distributed.restarts`, which needs torch
        return
    launcher = os.getppid()
    if launcher == 1:  # it is gone
        return
    with contextlib.suppress(ValueError):  # not in the main thread
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it asks this process to end, which does
    with contextlib.suppress(OSError):
        os.kill(launcher, SAID if os.environ.get(OURS) == str(launcher) else signal.SIGTERM)
