# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is loaded, for shards.py, and our own ways to."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, DistributedSampler

SHARD = 2 << 20  # bytes: so small that a small set has many


@dataclass
class Job:
    """What is to be loaded: `where` is a folder or s3://bucket/set, `state` of a stopped run."""

    where: str
    cache: str
    batch: int  # of a process
    workers: int = 0
    rank: int = 0
    world: int = 1
    epoch: int = 0
    seed: int = 7
    state: Any = None
    behind: int = 0  # batches of this process, in the run that is gone on with
    keep: dict = field(default_factory=dict)

    @property
    def remote(self) -> bool:
        return "://" in self.where


def files(folder: Path) -> list[tuple[str, Path]]:
    """Names below the folder and paths, sorted."""
    return [(str(p.relative_to(folder)), p) for p in sorted(folder.rglob("*.jpg"))]


def collate(items: list) -> tuple[list[str], list[bytes]]:
    """Names and files of a batch."""
    return [name for name, _ in items], [content for _, content in items]


def by_sampler(dataset: Dataset, job: Job) -> DataLoader:
    """A map-style set in the usual loader; what is behind is left out by the sampler."""
    sampler = DistributedSampler(
        dataset, job.world, job.rank, shuffle=True, seed=job.seed, drop_last=False
    )
    sampler.set_epoch(job.epoch)
    order = list(sampler)[job.behind * job.batch :]
    return DataLoader(
        dataset, job.batch, sampler=order, num_workers=job.workers, collate_fn=collate
    )


class Mapped(Dataset):
    """A set by number, through a function of it and the number."""

    def __init__(self, held: Any, get: Any, images: int | None = None) -> None:
        self.held, self.get, self.images = held, get, images or len(held)

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> tuple[str, bytes]:
        return self.get(self.held, index)


class Library:
    """How one writes a set and loads it.

    Attributes:
        remote: Whether it reads from a bucket.
        module: That is imported before the clock starts.
    """

    remote = True
    module = "torch"

    def write(self, images: Path, out: Path) -> None:
        raise NotImplementedError

    def load(self, job: Job) -> Any:
        raise NotImplementedError


class Folder(Library):
    """Files of a folder, as UnlabeledFolder has them."""

    remote = False
    module = "torch"

    def write(self, images: Path, out: Path) -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.symlink_to(images)

    def load(self, job: Job) -> Any:
        held = files(Path(job.where))
        return by_sampler(Mapped(held, lambda h, i: (h[i][0], h[i][1].read_bytes())), job)


class Pack(Library):
    """Our pack."""

    remote = False
    module = "xmoco_plugin.data"

    def write(self, images: Path, out: Path) -> None:
        from xmoco_plugin.data import write_pack

        write_pack(images, out)

    def load(self, job: Job) -> Any:
        from xmoco_plugin.data import Pack as Opened

        return by_sampler(
            Mapped(Opened(job.where), lambda p, i: (p.name(i), bytes(p.content(i)))), job
        )


class Shards(Library):
    """Ours: tars by number, in the order of ShardSampler."""

    remote = True
    module = "xmoco_plugin.data"

    def write(self, images: Path, out: Path) -> None:
        from xmoco_plugin.data.shards import write_shards

        write_shards(images, str(out), SHARD / 1e6)

    def load(self, job: Job) -> Any:
        from xmoco_plugin.data.shards import ShardSet, epoch_order

        os.environ["XMOCO_SHARDS"] = job.cache
        held = ShardSet(job.where)
        # With as few lanes as a large set would have: an eighth of the shards.
        order = epoch_order(held.lengths, job.seed + job.epoch, max(len(held.lengths) // 8, 1))
        mine = np.resize(order, -(-len(order) // job.world) * job.world)[job.rank :: job.world]
        return DataLoader(
            Mapped(held, lambda h, i: h.read(int(i))),
            job.batch,
            sampler=mine[job.behind * job.batch :].tolist(),
            num_workers=job.workers,
            collate_fn=collate,
        )
