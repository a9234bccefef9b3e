# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Run a function in several gloo processes and collect what each returns.

They are forks of one server that has imported the stack: it does so once for all tests of a worker.
"""

import gc
import os
import tempfile
from datetime import timedelta
from multiprocessing import forkserver
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

ROOT = Path(__file__).resolve().parents[1]
PRELOADED = ["tests.preloaded"]


def start_server() -> None:
    """Starts the server, unless it runs; with this process's environment as it is by now."""
    mp.get_context("forkserver").set_forkserver_preload(PRELOADED)
    here = os.getcwd()
    os.chdir(ROOT)  # it imports from where it is started, and passes over what it does not find
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(here)


def run_processes(function, size: int, *args) -> list:
    """``[function(rank, size, *args)]`` over ranks; the function must be importable by name.

    Returned values travel through ``torch.save``: tensors, numbers, and containers of them.
    """
    start_server()
    with tempfile.TemporaryDirectory() as folder:
        given = function, size, folder, dict(os.environ), args
        mp.start_processes(_entry, given, nprocs=size, start_method="forkserver")
        return [torch.load(Path(folder, f"{rank}.pt")) for rank in range(size)]


def _entry(
    rank: int, function, size: int, folder: str, environment: dict[str, str], args: tuple
) -> None:
    os.environ.clear()
    os.environ.update(environment)  # the caller's; a fork has the server's
    mp.set_start_method(None, force=True)  # as in forked.py
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=size,
        timeout=timedelta(seconds=120),
    )
    try:
        torch.save(function(rank, size, *args), Path(folder, f"{rank}.pt"))
        dist.barrier()
        # As in cli/exits.py: a Runner outlives its use in reference cycles, DDP in it holds the
        # group, and gloo's threads would run on while the interpreter takes itself apart.
        gc.collect()
    finally:
        dist.destroy_process_group()
