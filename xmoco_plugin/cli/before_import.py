# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is set and shown before the hosts are imported, which takes seconds."""

# Loaded by its path, like door.py: nothing but the standard library.

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

WAIT_POLICY = "OMP_WAIT_POLICY"
PATIENCE_SECONDS = 0.5  # that nobody needs to be told of


def set_wait_policy() -> None:
    """Lets torch's threads sleep while they wait, unless the user has said what they shall do.

    By default they spin: beside other busy processes they then take the cores from those that
    they wait for. Read when torch is imported, so it is set before; processes that are started
    from here inherit it. `benchmarks/wait_policy.py` measures it.
    """
    os.environ.setdefault(WAIT_POLICY, "PASSIVE")


@contextlib.contextmanager
def sign_of_life(program: str) -> Iterator[None]:
    """Says on a terminal that `program` is starting, where that takes longer than a moment.

    The line is gone when it has started.
    """
    stream = sys.stderr
    if stream is None or not stream.isatty() or os.environ.get("RANK", "0") != "0":
        yield
        return
    said = threading.Event()

    def say() -> None:
        said.set()
        stream.write(f"{program}: starting ...")
        stream.flush()

    timer = threading.Timer(PATIENCE_SECONDS, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if said.is_set():
            dumb = os.environ.get("TERM", "dumb") == "dumb"
            stream.write("\n" if dumb else "\r\x1b[K")
            stream.flush()
