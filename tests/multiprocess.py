# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Run a function in several gloo processes and collect what each returns."""

import gc
import tempfile
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_processes(function, size: int, *args) -> list:
    """``[function(rank, size, *args)]`` over ranks; the function must be importable by name.

    Returned values travel through ``torch.save``: tensors, numbers, and containers of them.
    """
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_entry, (function, size, folder, args), nprocs=size)
        return [torch.load(Path(folder, f"{rank}.pt")) for rank in range(size)]


def _entry(rank: int, function, size: int, folder: str, args: tuple) -> None:
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
