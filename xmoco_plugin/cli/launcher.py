# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Starts several processes as torchrun does; an error that they have said is the last word.

Run by its path: launcher.py [torchrun's options] SCRIPT [its options]. On one machine a free port
is taken unless PORT is set.
"""

import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

OURS = "XMOCO_LAUNCHER"  # its number, for the processes that it starts
USER_ERROR = 2  # exit status of a process that has said what is wrong
LOST = 3  # of one that has only noticed that another is gone
SAID = (USER_ERROR, 130, 143)  # and of those that were stopped


def options(processes: str) -> list[str]:
    """torchrun's options, from the environment: NNODES, NODE_RANK, MASTER_ADDR and PORT."""
    nodes, port = os.environ.get("NNODES", "1"), os.environ.get("PORT")
    if nodes == "1" and port is None:
        return ["--standalone", "--nproc_per_node", processes]
    return [
        *("--nnodes", nodes, "--node_rank", os.environ.get("NODE_RANK", "0")),
        *("--nproc_per_node", processes),
        *("--master_addr", os.environ.get("MASTER_ADDR", "127.0.0.1")),
        *("--master_port", port or "29500"),
    ]


def hand_on(number: int, frame: object) -> None:
    """Sends a signal on to the processes that this one has started (on Linux, that lists them)."""
    for file in Path("/proc/self/task").glob("*/children"):
        try:
            children = file.read_text().split()
        except OSError:  # a thread that has ended since it was listed
            continue
        for child in children:
            with contextlib.suppress(OSError):
                os.kill(int(child), number)


def main(processes: str, command: list[str]) -> int:
    """Runs `command` in so many processes; returns the exit status."""
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, hand_on)  # asks for a checkpoint; it would end torchrun
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    # Its own words about a process that ended would stand behind what that process said.
    os.environ[OURS] = str(os.getpid())  # its processes end with it, see door.py
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        run.main([*options(processes), *command])
    except ChildFailedError as error:
        rank, first = error.get_first_failure()
        if first.exitcode == LOST:
            # Nor one that this launcher has ended since.
            noticed = (LOST, -signal.SIGTERM)
            others = [(r, f) for r, f in error.failures.items() if f.exitcode not in noticed]
            rank, first = min(others, key=lambda found: found[1].timestamp, default=(rank, first))
        if first.exitcode not in (*SAID, LOST):
            number = f"process {rank} (PID {first.pid})"
            how = "was killed" if first.exitcode < 0 else "ended"
            code = first.signal_name() if first.exitcode < 0 else f"with status {first.exitcode}"
            where = "" if first.exitcode < 0 else "; what it said stands above"
            memory = (
                " Where memory ran out the system kills (`dmesg` tells): a smaller batch or fewer "
                "workers."
            )
            hint = memory if code == "SIGKILL" else ""
            text = f"error: {number} {how} ({code}){where}. The others were ended.{hint}"
            print(text, file=sys.stderr)
        return 128 - first.exitcode if first.exitcode < 0 else first.exitcode
    except SignalException as stop:  # Ctrl-C, or SIGTERM: the processes have been told
        return 128 + int(stop.sigval)
    except (RuntimeError, OSError) as error:
        if "EADDRINUSE" not in str(error) and "already in use" not in str(error):
            raise
        print(
            f"error: port {os.environ.get('PORT', '29500')} is taken: name a free one "
            "(PORT=29501), the same on every machine; on one machine leave PORT out.",
            file=sys.stderr,
        )
        return USER_ERROR
    return 0


if __name__ == "__main__":
    # The folder of this file is first on the path, and has files named as modules of Python.
    sys.path.pop(0)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
