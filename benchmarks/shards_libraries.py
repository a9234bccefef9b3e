# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The libraries that shards.py compares: each writes a set and loads batches of names and files."""

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from shards_own import SHARD, Folder, Job, Library, Mapped, Pack, Shards, by_sampler, collate, files
from torch.utils.data import DataLoader


class Mosaic(Library):
    """MosaicML streaming."""

    remote = True
    module = "streaming"
    mapped = False

    def write(self, images: Path, out: Path) -> None:
        from streaming import MDSWriter

        columns = dict(name="str", jpg="bytes")
        with MDSWriter(out=str(out), columns=columns, size_limit=SHARD, hashes=["sha1"]) as writer:
            for name, path in files(images):
                writer.write(dict(name=name, jpg=path.read_bytes()))

    def load(self, job: Job) -> Any:
        from streaming import StreamingDataLoader, StreamingDataset

        source = dict(remote=job.where, local=job.cache) if job.remote else dict(local=job.where)
        dataset = StreamingDataset(
            **source,
            shuffle=True,
            shuffle_seed=job.seed,
            batch_size=job.batch,
            validate_hash="sha1" if job.remote else None,
        )
        if self.mapped:
            # Its own length is that of a process's share.
            return by_sampler(Mapped(dataset, mosaic_item, dataset.num_samples), job)
        loader = StreamingDataLoader(
            dataset,
            batch_size=job.batch,
            num_workers=job.workers,
            collate_fn=lambda items: collate([(x["name"], x["jpg"]) for x in items]),
        )
        if job.state:
            loader.load_state_dict(job.state)
        return loader


def mosaic_item(dataset: Any, index: int) -> tuple[str, bytes]:
    """Of a set of MosaicML's, by number."""
    found = dataset[int(index)]
    return found["name"], found["jpg"]


class MosaicMapped(Mosaic):
    """The same set, read by number: the order is the usual sampler's."""

    mapped = True


class Lit(Library):
    """LitData."""

    remote = True
    module = "litdata"

    def write(self, images: Path, out: Path) -> None:
        from litdata import optimize

        optimize(
            fn=lit_sample,
            inputs=[(name, str(path)) for name, path in files(images)],
            output_dir=str(out),
            chunk_bytes=SHARD,
            num_workers=1,
        )

    def load(self, job: Job) -> Any:
        from litdata import StreamingDataLoader, StreamingDataset
        from litdata.streaming import downloader

        # A server without TLS, which it has no option for.
        downloader._OBSTORE_CLIENT_OPTIONS["allow_http"] = True
        dataset = StreamingDataset(
            job.where,
            cache_dir=job.cache if job.remote else None,
            shuffle=True,
            seed=job.seed,
            force_override_state_dict=bool(job.state),
        )
        loader = StreamingDataLoader(
            dataset, batch_size=job.batch, num_workers=job.workers, collate_fn=lit_collate
        )
        if job.state:
            loader.load_state_dict(job.state)
        return loader


def lit_sample(pair: tuple[str, str]) -> dict:
    """Of LitData's writer."""
    return dict(name=pair[0], jpg=Path(pair[1]).read_bytes())


def lit_collate(items: list) -> tuple:
    """Of LitData's loader."""
    return collate([(x["name"], x["jpg"]) for x in items])


def tar_urls(job: Job) -> list[str]:
    """Of the shards; over HTTP where they are in a bucket, as curl reads them."""
    if not job.remote:
        return [str(p) for p in sorted(Path(job.where).glob("*.tar"))]
    listed = json.loads(os.environ["SHARDS_OF_SET"])
    root = job.where.replace("s3:/", os.environ["AWS_ENDPOINT_URL"])
    return [f"{root}/{name}" for name in listed if name.endswith(".tar")]


class Web(Library):
    """WebDataset, in its order."""

    remote = True
    module = "webdataset"

    def write(self, images: Path, out: Path) -> None:
        import webdataset

        out.mkdir(parents=True)
        counts: dict[str, int] = {}
        pattern = str(out / "%05d.tar")
        with webdataset.ShardWriter(pattern, maxsize=SHARD, maxcount=10**9, verbose=0) as writer:
            for name, path in files(images):
                writer.write({"__key__": name.removesuffix(".jpg"), "jpg": path.read_bytes()})
                counts[Path(writer.fname).name] = counts.get(Path(writer.fname).name, 0) + 1
        shards = [dict(url=name, nsamples=n) for name, n in counts.items()]
        index = {"__kind__": "wids-shard-index-v1", "wids_version": 1, "shardlist": shards}
        (out / "index.json").write_text(json.dumps(index))

    def load(self, job: Job) -> Any:
        import webdataset

        set_ = webdataset.WebDataset(
            [f"pipe:curl -sf {u}" if job.remote else u for u in tar_urls(job)],
            shardshuffle=1000,
            detshuffle=True,
            seed=job.seed,
            nodesplitter=webdataset.split_by_node,
            empty_check=False,
        )
        set_ = set_.shuffle(1000).map(lambda x: (x["__key__"] + ".jpg", x["jpg"]))
        return DataLoader(set_, job.batch, num_workers=job.workers, collate_fn=collate)


class Wids(Web):
    """The same tars by number, as the wids package reads them."""

    module = "wids"

    def load(self, job: Job) -> Any:
        import wids

        counts = json.loads(os.environ["COUNTS_OF_SET"])
        shards = [dict(url=u, nsamples=counts[Path(u).name]) for u in tar_urls(job)]
        held = wids.ShardListDataset(
            shards,
            cache_dir=job.cache if job.remote else None,
            keep=True,
            transformations=[],
            lru_size=64,
        )
        return by_sampler(Mapped(held, wids_item), job)


def wids_item(held: Any, index: int) -> tuple[str, bytes]:
    """Of a set of wids."""
    found = held[int(index)]
    content = found[".jpg"]
    return found["__key__"] + ".jpg", content.read() if isinstance(content, io.IOBase) else content


class Arrow(Library):
    """Hugging Face datasets: Arrow on disk, by number; parquet from a bucket, in its order."""

    remote = True
    module = "datasets"

    def write(self, images: Path, out: Path) -> None:
        import pyarrow
        import pyarrow.parquet
        from datasets import Dataset as Set

        found = files(images)
        rows: dict[str, list] = dict(
            name=[n for n, _ in found], jpg=[p.read_bytes() for _, p in found]
        )
        out.mkdir(parents=True)
        Set.from_dict(rows).save_to_disk(str(out / "arrow"), max_shard_size=SHARD)
        size = max(len(found) * SHARD // sum(map(len, rows["jpg"])), 1)
        for number, start in enumerate(range(0, len(found), size)):
            part = {key: column[start : start + size] for key, column in rows.items()}
            file = out / f"{number:05d}.parquet"
            pyarrow.parquet.write_table(pyarrow.table(part), file, row_group_size=100)

    def load(self, job: Job) -> Any:
        import datasets

        datasets.disable_progress_bars()
        if not job.remote:
            held = datasets.load_from_disk(job.where + "/arrow")
            return by_sampler(Mapped(held, lambda h, i: (h[int(i)]["name"], h[int(i)]["jpg"])), job)
        from datasets.distributed import split_dataset_by_node

        names = [n for n in json.loads(os.environ["SHARDS_OF_SET"]) if n.endswith(".parquet")]
        options = dict(endpoint_url=os.environ["AWS_ENDPOINT_URL"])
        held = datasets.load_dataset(
            "parquet",
            data_files=[f"{job.where}/{name}" for name in names],
            streaming=True,
            split="train",
            storage_options=dict(client_kwargs=options),
        ).shuffle(seed=job.seed, buffer_size=1000)
        held.set_epoch(job.epoch)
        held = split_dataset_by_node(held, job.rank, job.world)
        if job.state:
            held.load_state_dict(job.state)
        job.keep["state"] = held.state_dict
        return DataLoader(held, job.batch, num_workers=job.workers, collate_fn=lit_collate)


LIBRARIES: dict[str, type[Library]] = {
    "folder": Folder,
    "pack": Pack,
    "shards": Shards,
    "mosaic": Mosaic,
    "mosaic by number": MosaicMapped,
    "litdata": Lit,
    "webdataset": Web,
    "wids": Wids,
    "datasets": Arrow,
}


def distance(positions: np.ndarray) -> float:
    """Mean distance of neighbours in the order of writing, 1 where the order is random."""
    return float(np.abs(np.diff(positions)).mean() / (len(positions) / 3))


def batches(loader: Any) -> Iterator[tuple[list[str], list[bytes]]]:
    """Of a loader, without torch's threads."""
    torch.set_num_threads(1)
    yield from loader
