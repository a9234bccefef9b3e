# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How one command starts another, in processes of their own."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

DOOR = Path(__file__).with_name("__main__.py")


def command(name: str, arguments: Sequence[str], processes: int = 1) -> list[str]:
    """Returns the command line that runs `xmoco name arguments` on this interpreter.

    Several processes are those of this machine; NNODES, NODE_RANK, MASTER_ADDR and PORT are read
    from the environment as tools/dist_train.sh reads them.
    """
    if processes == 1:
        return [sys.executable, str(DOOR), name, *arguments]
    launcher = {
        "nnodes": os.environ.get("NNODES", "1"),
        "node_rank": os.environ.get("NODE_RANK", "0"),
        "nproc_per_node": str(processes),
        "master_addr": os.environ.get("MASTER_ADDR", "127.0.0.1"),
        "master_port": os.environ.get("PORT", "29500"),
    }
    options = [word for key, value in launcher.items() for word in (f"--{key}", value)]
    run = [sys.executable, "-m", "torch.distributed.run", *options, str(DOOR), name]
    return [*run, "--launcher", "pytorch", *arguments]


def end(training: subprocess.Popen) -> None:
    """Ends a training: a terminal's Ctrl-C has reached it too, else it is asked, at last made to.

    Several processes are ended by the launcher, which is killed only when it has had the time.
    """
    try:
        for ask, seconds in ((None, 3), (training.terminate, 40)):
            if ask is not None:
                ask()
            with contextlib.suppress(subprocess.TimeoutExpired):
                training.wait(seconds)
                return
    finally:  # a second Ctrl-C as well
        training.kill()
