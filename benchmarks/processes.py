# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A step of one global batch on 1, 2, 4 and 8 processes of this machine: bytes, seconds, processor.

A small XMoCo (ResNet-18 of CIFAR, 32 px), both terms, shuffle-BN, DDP over gloo. The images of a
step stay the same, as with train --global-batch. Bytes are what a process receives from the others,
counted at torch.distributed; gradients are counted from DDP's buckets, as a ring needs them.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import comm
import measure as bench
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.structures import BaseDataElement
from mmpretrain.registry import MODELS
from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook
from torch.nn.parallel import DistributedDataParallel

import xmoco_plugin  # noqa: F401  (registers XMoCo)

MODEL = dict(
    type="XMoCo",
    backbone=dict(type="ResNet_CIFAR", depth=18, base_channels=16, stem_channels=16),
    neck=dict(type="MoCoV2Neck", in_channels=128, hid_channels=128, out_channels=128),
    head=dict(type="XMoCoHead", temperature=0.2, consistency=dict(), uniformity=dict()),
    queue_len=4096,
    feat_dim=128,
    momentum=0.01,
)


def train(rank: int, size: int, folder: str, args: argparse.Namespace) -> None:
    """One process: trains, writes rank 0's medians."""
    torch.set_num_threads(args.threads)
    store = f"file://{folder}/store{size}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=size)
    torch.manual_seed(0)
    counter, gradients = comm.Counter(), [0]
    model = MODELS.build(MODEL).train()
    wrapped = DistributedDataParallel(model, broadcast_buffers=False)

    def reduced(group: object, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:
        gradients[0] += 2 * bucket.buffer().nbytes * (size - 1) // size
        return allreduce_hook(None, bucket)

    wrapped.register_comm_hook(None, reduced)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9)
    share = args.batch // size
    found = []
    for step in range(args.repeats + 1):
        views = [torch.randn(share, 3, 32, 32) for _ in range(2)]
        samples = [BaseDataElement() for _ in range(share)]
        dist.barrier()
        counter.bytes = gradients[0] = 0
        began, busy = time.perf_counter(), time.process_time()
        losses = wrapped(views, samples, mode="loss")
        sum(v for k, v in losses.items() if k.startswith("loss")).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step:  # the first warms up
            seconds = time.perf_counter() - began, time.process_time() - busy
            # The hook's all-reduce was counted there too.
            found.append((gradients[0], counter.bytes - gradients[0], *seconds))
    if rank == 0:
        values = [statistics.median(column) for column in zip(*found, strict=True)]
        row = dict(processes=size, images=share)
        row |= {"gradients MB": round(values[0] / 1e6, 3), "rest MB": round(values[1] / 1e6, 3)}
        row |= {"ms": round(1e3 * values[2], 1), "of the processor, ms": round(1e3 * values[3], 1)}
        Path(folder, f"{size}.json").write_text(json.dumps(row))
    dist.barrier()
    dist.destroy_process_group()


def main() -> None:
    """Measures each number of processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    bench.add_arguments(parser, repeats=9)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--batch", type=int, default=64, help="images of all processes")
    args = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for size in args.processes:
            # Forks have imported what they need.
            mp.start_processes(train, (size, folder, args), nprocs=size, start_method="fork")
            rows.append(json.loads(Path(folder, f"{size}.json").read_text()))
    facts = bench.environment() | dict(images=f"{args.batch} of 32 px a step, all processes")
    bench.report("A step of one global batch by number of processes, gloo", rows, facts, args)


if __name__ == "__main__":
    main()
