# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Starts several processes as torchrun does; an error that they have said is the last word.

Run by its path: launcher.py PROCESSES SCRIPT [its options]. On one machine a free port is taken
unless PORT is set. NNODES=1:4 is a number of machines that may change.
"""

import contextlib
import logging
import math
import os
import re
import runpy
import signal
import sys
from pathlib import Path

# By its path, as this file is run: the variable with its number, for the processes that it starts.
OURS = runpy.run_path(str(Path(__file__).with_name("agent.py")))["OURS"]
USER_ERROR = 2  # exit status of a process that has said what is wrong
LOST = 3  # of one that has only noticed that another is gone
SAID = (USER_ERROR, 130, 143)  # and of those that were stopped


TAKEN = (
    "port {port} is taken: name a free one (PORT=29501), the same on every machine; on one machine "
    "leave PORT out."
)
RESTARTS = "10"  # of the processes of a machine, after which it gives up; ours
LARGEST = 1_000_000  # images of a step that are proposed; ours
# A machine that joins would wait for the address of the first process, which the others know from
# before and do not say again: so torch must make it anew for each number of machines.
NEW_STORE = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"


def options(processes: str) -> list[str]:
    """torchrun's options, from the environment: NNODES, NODE_RANK, MASTER_ADDR and PORT.

    Of machines that come and go also JOB, a name for all of them, and MAX_RESTARTS.
    """
    nodes = os.environ.get("NNODES", "1")
    if changing():
        return [
            *("--nnodes", nodes, "--nproc_per_node", processes, "--rdzv_backend", "c10d"),
            *("--rdzv_endpoint", f"{address()}:{port()}"),
            *("--rdzv_id", os.environ.get("JOB", "xmoco")),
            *("--max_restarts", os.environ.get("MAX_RESTARTS", RESTARTS)),
        ]
    if nodes == "1" and "PORT" not in os.environ:
        return ["--standalone", "--nproc_per_node", processes]
    return [
        *("--nnodes", nodes, "--node_rank", os.environ.get("NODE_RANK", "0")),
        *("--nproc_per_node", processes),
        *("--master_addr", address()),
        *("--master_port", port()),
    ]


def changing() -> bool:
    """Whether machines come and go."""
    return not os.environ.get("NNODES", "1").isdecimal()


def address() -> str:
    """Of the machine at which all find each other."""
    return os.environ.get("MASTER_ADDR") or "127.0.0.1"


def port() -> str:
    """That is free there."""
    return os.environ.get("PORT", "29500")


def unmet(error: Exception) -> str:
    """What is said where machines that come and go do not find each other, any more or at all."""
    if type(error).__name__ in ("RendezvousClosedError", "RendezvousGracefulExitError"):
        return (
            f"the training {os.environ.get('JOB', 'xmoco')} at {address()}:{port()} has ended, or "
            "was given up after too many restarts (MAX_RESTARTS): the other machines say why."
        )
    return (
        f"no answer from {address()}:{port()}, where the machines of this training find each "
        f"other ({type(error).__name__}): the machine that MASTER_ADDR names must be there first "
        "and stay, with that port open. Started again there, the same lines go on from the last "
        "checkpoint."
    )


def mistake(processes: str, command: list[str]) -> str | None:
    """What is wrong with a training on a number of machines that may change; None: nothing."""
    nodes = os.environ.get("NNODES", "1")
    if not changing():
        return None
    found = re.fullmatch(r"(\d{1,5}):(\d{1,5})", nodes)
    fewest, most = map(int, found.groups()) if found else (0, 0)
    if not 1 <= fewest <= most:
        return f"NNODES={nodes}: fewest and most machines, such as 1:4, are what it takes."
    if most > 1 and not os.environ.get("MASTER_ADDR"):
        return (
            f"NNODES={nodes} needs MASTER_ADDR, the name of one of the machines, the same on each: "
            "without it each would train alone and write over what the others write."
        )
    words = [part for word in command for part in word.split("=", 1)]
    batch = words[words.index("--global-batch") + 1 :][:1] if "--global-batch" in words else []
    if "--resume" not in words or not batch:
        return (
            f"NNODES={nodes}: machines that come and go need --resume, to go on from the last "
            "checkpoint, and --global-batch N, the images of a step whatever their number, both "
            "of train."
        )
    if not (batch[0].isdecimal() and processes.isdecimal() and int(processes)):
        return None  # train and torchrun say so
    images, counts = int(batch[0]), [n * int(processes) for n in range(fewest, most + 1)]
    unequal = [n for n in counts if images % n]
    if not unequal:
        return None
    step = math.lcm(*counts[:64])  # of more numbers in a row it is above LARGEST anyway
    way_out = (
        f"Take a multiple of {step:,}, such as {max(-(-images // step), 1) * step:,}, or other "
        "machines."
        if step <= LARGEST
        else f"No batch of up to {LARGEST:,} suits all of these numbers: take a smaller range."
    )
    return (
        f"--global-batch {images}: {unequal[0]:,} processes cannot share it equally, and "
        f"NNODES={nodes} with {processes} on each may have so many. {way_out}"
    )


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
    if (wrong := mistake(processes, command)) is not None:
        print(f"error: {wrong}", file=sys.stderr)
        return USER_ERROR
    if changing():
        os.environ.setdefault(NEW_STORE, "1")
        print(
            f"waiting for {os.environ['NNODES']} machines at {address()}:{port()}; the first "
            "process of the first machine says what the training does",
            flush=True,
        )
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, hand_on)  # asks for a checkpoint; it would end torchrun
    from torch.distributed import DistError, run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.elastic.rendezvous.api import RendezvousError

    told: list[int] = []

    def end(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        told.append(number)
        raise SignalException("a process has said what is wrong", signal.SIGTERM)

    if hasattr(signal, "SIGUSR2"):
        signal.signal(signal.SIGUSR2, end)  # see agent.py

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
        return USER_ERROR if told else 128 + int(stop.sigval)
    except (RendezvousError, RuntimeError, OSError) as error:
        taken = "EADDRINUSE" in str(error) or "already in use" in str(error)
        if not taken and not (changing() and isinstance(error, (RendezvousError, DistError))):
            raise
        print(f"error: {TAKEN.format(port=port()) if taken else unmet(error)}", file=sys.stderr)
        return USER_ERROR
    return 0


if __name__ == "__main__":
    # The folder of this file is first on the path, and has files named as modules of Python.
    sys.path.pop(0)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
