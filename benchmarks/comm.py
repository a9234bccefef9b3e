# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Bytes and time of what a MoCo step sends between processes, against mmpretrain's.

The shuffle of images and features, the queue's update, and that with XMoCo's terms, forwards and
backwards, which compare with the keys that the queue gathers. Host and ours do the same work on the
same tensors in gloo processes on this machine, alternating. Bytes are what a process receives from
the others, counted at torch.distributed; an all-reduce counts as a ring needs it. For more GPUs
than are here the same is worked out on paper.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import measure as bench
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
from mmpretrain.models import MoCo
from mmpretrain.models.utils import batch_shuffle_ddp, batch_unshuffle_ddp

from xmoco_plugin.distributed import gather_rows, gathers_shared
from xmoco_plugin.heads import XMoCoHead
from xmoco_plugin.momentum import ShufflePlan, write_ring

DIM, QUEUE = 128, 65536
ON_PAPER = (8, 64, 512)
SHUFFLE, UPDATE, TERMS = "shuffle", "queue update", "queue update and terms"
Step = Callable[[int], object]


def steps(batch: int, image_size: int) -> dict[tuple[str, str], Step]:
    """What a process does in a step, by part and by whose code it is."""
    images = torch.randn(batch, 3, image_size, image_size)
    q, k = (F.normalize(torch.randn(batch, DIM)) for _ in range(2))
    queue = F.normalize(torch.randn(DIM, QUEUE), dim=0)
    host = SimpleNamespace(queue=queue, queue_ptr=torch.zeros(1, dtype=torch.long), queue_len=QUEUE)
    head = XMoCoHead(consistency=dict(), uniformity=dict())

    def host_shuffle(step: int) -> None:
        """Gathers images and features on every process."""
        _, restore = batch_shuffle_ddp(images)
        batch_unshuffle_ddp(k, restore)

    def our_shuffle(step: int) -> None:
        """Each process gets its own part."""
        plan = ShufflePlan.draw(batch, seed=step)
        plan.begin_shuffle(images).arrived()
        plan.unshuffle(k)

    def terms(step: int) -> None:
        with gathers_shared():
            found = head.terms(q.clone().requires_grad_(), k, queue)
            write_ring(queue, 0, gather_rows(k))
        torch.stack(list(found.values())).sum().backward()

    return {
        (SHUFFLE, "host"): host_shuffle,
        (SHUFFLE, "ours"): our_shuffle,
        (UPDATE, "host"): lambda step: MoCo._dequeue_and_enqueue(host, k),
        (UPDATE, "ours"): lambda step: write_ring(queue, 0, gather_rows(k)),
        (TERMS, "ours"): terms,
    }


def on_paper(processes: int, batch: int, image_size: int) -> dict[tuple[str, str], float]:
    """Bytes of the same, which a process receives, from the algorithms' own description.

    Gathering n rows of each of P processes brings n (P - 1); exchanging one's rows for as many
    others brings n (P - 1) / P on average over the permutations; reducing x bytes in a ring brings
    2 x (P - 1) / P. The terms share the queue's gather of the keys, gather the queries, and reduce
    the gradient of the gathered queries, n P rows.
    """
    others = processes - 1
    row, image = 4 * DIM, 4 * 3 * image_size**2
    gathered = batch * others * row
    return {
        (SHUFFLE, "host"): batch * others * (image + row),
        (SHUFFLE, "ours"): batch * others / processes * (image + row),
        (UPDATE, "host"): gathered,
        (UPDATE, "ours"): gathered,
        (TERMS, "ours"): 2 * gathered + 2 * gathered,
    }


class Counter:
    """Counts the bytes that this process receives from others through torch.distributed."""

    def __init__(self) -> None:
        self.bytes = 0
        self._wrap("all_gather", lambda out, *_: sum(t.nbytes for t in out) - out[0].nbytes)
        self._wrap("all_gather_into_tensor", lambda out, own: out.nbytes - own.nbytes)
        self._wrap("broadcast", lambda t, src=0, *_: t.nbytes * (src != dist.get_rank()))
        self._wrap("all_to_all_single", self._exchanged)
        self._wrap("all_reduce", self._reduced)

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

    @staticmethod
    def _reduced(tensor: torch.Tensor, *_) -> int:
        size = dist.get_world_size()
        return 2 * tensor.nbytes * (size - 1) // size


def measure(rank: int, size: int, folder: str, args: argparse.Namespace) -> None:
    """One process: alternates them, writes rank 0's medians."""
    torch.set_num_threads(args.threads)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store{size}", rank=rank, world_size=size
    )
    counter = Counter()
    ways = steps(args.batch, args.image_size)
    found: dict[tuple[str, str], list[tuple[int, float]]] = {key: [] for key in ways}
    for step in range(args.repeats + 1):
        for key, function in ways.items():
            dist.barrier()
            counter.bytes, start = 0, time.perf_counter()
            function(step)
            if step:  # the first warms up
                found[key].append((counter.bytes, time.perf_counter() - start))
    if rank == 0:
        rows = []
        for part in dict.fromkeys(part for part, _ in found):
            row: dict = dict(part=part, processes=size)
            for name in ("host", "ours"):
                if (part, name) in found:
                    values = found[part, name]
                    row[f"{name} MB"] = round(statistics.median(b for b, _ in values) / 1e6, 3)
                    times = [1e3 * t for _, t in values]
                    row[f"{name} ms"] = round(statistics.median(times), 1)
                    row[f"{name}, rounds"] = bench.spread(times)
            rows.append(row)
        Path(folder, f"{size}.json").write_text(json.dumps(rows))
    dist.barrier()
    dist.destroy_process_group()


def run(size: int, folder: str, args: argparse.Namespace) -> list[dict]:
    """The rows of so many processes."""
    mp.spawn(measure, (size, folder, args), nprocs=size)
    return json.loads(Path(folder, f"{size}.json").read_text())


def main() -> None:
    """Measures each number of processes, then goes on on paper."""
    parser = argparse.ArgumentParser(description=__doc__)
    bench.add_arguments(parser, repeats=7)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--batch", type=int, default=32, help="images per process")
    parser.add_argument("--image-size", type=int, default=224)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for size in args.processes for row in run(size, folder, args)]
    for size in ON_PAPER:
        paper = on_paper(size, args.batch, args.image_size)
        for part in (SHUFFLE, UPDATE, TERMS):
            row = {"on paper": part, "processes": size}
            row |= {f"{n} MB": paper[part, n] / 1e6 for n in ("host", "ours") if (part, n) in paper}
            rows.append(row)
    facts = bench.environment() | dict(images=f"{args.batch} of {args.image_size} px a process")
    bench.report("What a step sends between processes, gloo", rows, facts, args)


if __name__ == "__main__":
    main()
