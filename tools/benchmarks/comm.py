# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Bytes and time of one step's shuffle and unshuffle: one all-to-all against gathering everything.

Both do the same work on the same images in gloo processes on this machine, alternating; bytes are
what a process receives from the others, counted at torch.distributed.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import measure as bench
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmpretrain.models.utils import batch_shuffle_ddp, batch_unshuffle_ddp

from xmoco_plugin.momentum import ShufflePlan

DIM = 128


def host_step(images: torch.Tensor, features: torch.Tensor, step: int) -> None:
    """mmpretrain's MoCo: gathers images and features on every process."""
    _, restore = batch_shuffle_ddp(images)
    batch_unshuffle_ddp(features, restore)


def our_step(images: torch.Tensor, features: torch.Tensor, step: int) -> None:
    """XMoCo: each process gets its own part."""
    plan = ShufflePlan.draw(len(images), seed=step)
    plan.shuffle(images)
    plan.unshuffle(features)


class Counter:
    """Counts the bytes that this process receives from others through torch.distributed."""

    def __init__(self) -> None:
        self.bytes = 0
        self._wrap("all_gather", lambda out, *_: sum(t.nbytes for t in out) - out[0].nbytes)
        self._wrap("broadcast", lambda t, src, *_: t.nbytes * (src != dist.get_rank()))
        self._wrap("all_to_all_single", self._exchanged)

    def _wrap(self, name: str, received: Callable) -> None:
        original = getattr(dist, name)

        def counted(*args, **kwargs):
            self.bytes += received(*args)
            return original(*args, **kwargs)

        setattr(dist, name, counted)

    @staticmethod
    def _exchanged(out: torch.Tensor, _: torch.Tensor, receive_counts: list[int], __) -> int:
        own = receive_counts[dist.get_rank()]
        return out.nbytes * (sum(receive_counts) - own) // max(sum(receive_counts), 1)


def measure(rank: int, size: int, folder: str, args: argparse.Namespace) -> None:
    """One process: alternates the two, writes rank 0's medians."""
    torch.set_num_threads(args.threads)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store{size}", rank=rank, world_size=size
    )
    images = torch.randn(args.batch, 3, args.image_size, args.image_size)
    features = torch.randn(args.batch, DIM)
    counter = Counter()
    results: dict[str, list[tuple[int, float]]] = {"host": [], "ours": []}
    for step in range(args.repeats + 1):
        for name, function in (("host", host_step), ("ours", our_step)):
            dist.barrier()
            counter.bytes, start = 0, time.perf_counter()
            function(images, features, step)
            if step:  # the first warms up
                results[name].append((counter.bytes, time.perf_counter() - start))
    if rank == 0:
        row = {"processes": size, "batch": args.batch, "image_size": args.image_size}
        for name, values in results.items():
            row[f"{name}_MB"] = round(statistics.median(b for b, _ in values) / 1e6, 2)
            row[f"{name}_ms"] = round(statistics.median(t for _, t in values) * 1e3, 1)
        Path(folder, f"{size}.json").write_text(json.dumps(row))
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    """Measures each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    bench.add_arguments(parser, repeats=7)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--batch", type=int, default=32, help="images per process")
    parser.add_argument("--image-size", type=int, default=224)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in args.processes:
            mp.spawn(measure, (size, folder, args), nprocs=size)
            rows.append(json.loads(Path(folder, f"{size}.json").read_text()))
    bench.report("Shuffle and unshuffle of one step, gloo", rows, bench.environment(), args)


if __name__ == "__main__":
    main()
