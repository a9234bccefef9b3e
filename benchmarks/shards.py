# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Compares libraries that read many images from shards, on local disk and from a server of S3.

The packages go into an environment of their own: moto[server], boto3, obstore, s3fs,
mosaicml-streaming, litdata, webdataset, wids, datasets. A measurement that has its line in --out
is not repeated.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shards_libraries as libraries
from shards_process import LIMIT, run, together

SETS = {"32 px": 256, "224 px": 64}  # batch of all processes
BEHIND = 5  # batches before a run is stopped


def make_images(args: argparse.Namespace, name: str) -> Path:
    """JPEGs in folders of classes, written once: of CIFAR-10, and pieces of the photographs."""
    out = args.work / name.replace(" ", "")
    if out.exists():
        return out
    part, draw = out.with_suffix(".partial"), np.random.default_rng(0)
    if name == "32 px":
        with np.load(args.cifar10) as file:
            pairs = zip(file["images"][:20000, :, :, ::-1], file["labels"], strict=False)
            found = [(f"{label}/{i:05d}.jpg", image) for i, (image, label) in enumerate(pairs)]
    else:
        photos, found = sorted(args.photos.rglob("*.jpg")), []
        for i in range(2000):
            photo = photos[i % len(photos)]
            image = np.asarray(cv2.imread(str(photo)))
            left = int(draw.integers(image.shape[1] - 223))
            top = int(draw.integers(image.shape[0] - 223))
            piece = image[top : top + 224, left : left + 224]
            found.append((f"{photo.parent.name}/{i:05d}.jpg", piece))
    for file, image in found:
        (part / file).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(part / file), image)
    part.rename(out)
    return out


class Measure:
    """Sets, server, and what was found so far."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        if any(libraries.LIBRARIES[name].remote for name in args.only):
            from shards_server import Server

            self.server = Server()
            self.server.use()
        self.out = args.out.with_suffix(".jsonl")
        self.found: dict[str, Any] = {}
        if self.out.exists():
            lines = map(json.loads, self.out.read_text().splitlines())
            self.found = {line["key"]: line["found"] for line in lines}
        self._uploaded: set[str] = set()

    def once(self, key: str, function: Any) -> Any:
        """What a measurement finds; it is made where it is not there."""
        if key not in self.found:
            self.found[key] = function()
            line = dict(key=key, found=self.found[key], load=round(os.getloadavg()[0], 1))
            with open(self.out, "a") as file:
                file.write(json.dumps(line) + "\n")
            print(key, str(self.found[key])[:150], flush=True)
        return self.found[key]

    def place(self, library: str, name: str, source: str) -> tuple[str, dict[str, str]]:
        """Where a library's set is, written and uploaded once, and the environment for it."""
        kind = libraries.LIBRARIES[library]
        writer = {"mosaic by number": "mosaic", "wids": "webdataset"}.get(library, library)
        folder = self.args.work / "sets" / writer / name.replace(" ", "")
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            kind().write(make_images(self.args, name), folder)
        names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        env = {"SHARDS_OF_SET": json.dumps(names)} if len(names) < 1000 else {}
        if (folder / "index.json").exists():
            shards = json.loads((folder / "index.json").read_text()).get("shardlist", [])
            env["COUNTS_OF_SET"] = json.dumps({s["url"]: s["nsamples"] for s in shards})
        if source == "disk":
            return str(folder), env
        key = f"{writer}/{name.replace(' ', '')}"
        if key not in self._uploaded:
            import boto3

            client = boto3.client("s3")
            client.create_bucket(Bucket="bucket")
            client.put_bucket_acl(Bucket="bucket", ACL="public-read")
            for file in names:
                client.upload_file(str(folder / file), "bucket", f"{key}/{file}")
            self._uploaded.add(key)
        return f"s3://bucket/{key}", env

    def run(self, library: str, name: str, source: str, **more: Any) -> list[dict[str, Any]]:
        """One measurement, with a cache that is new."""
        where, env = self.place(library, name, source)
        world, workers = more.pop("world", 1), more.pop("workers", 0)
        with tempfile.TemporaryDirectory(dir=self.args.work) as cache:
            jobs = [
                dict(
                    what=more.get("what", "order"),
                    library=library,
                    where=where,
                    cache=cache,
                    batch=SETS[name] // world,
                    workers=workers,
                    rank=rank,
                    world=world,
                    first="rate" not in more.get("what", "order"),
                    **{
                        k: v[rank] if k == "state" and v else v
                        for k, v in more.items()
                        if k != "what"
                    },
                )
                for rank in range(world)
            ]
            return run(jobs, env)

    def rate(self, library: str, name: str, source: str, round_: int) -> dict[str, Any]:
        """Speed, first batch, memory and shuffle of one epoch."""

        def measure() -> dict[str, Any]:
            if source == "server":
                self.server.gets = self.server.bytes = 0
            found = self.run(library, name, source, what="rate")[0]
            names = found.pop("names", [])
            place = {n: i for i, (n, _) in enumerate(libraries.files(make_images(self.args, name)))}
            if names:
                found["distance"] = libraries.distance(np.array([place[n] for n in names]))
                found["images"], found["different"] = len(names), len(set(names))
            if source == "server":
                found |= dict(gets=self.server.gets, mb_sent=self.server.bytes / 1e6)
            return found

        return self.once(f"rate/{library}/{name}/{source}/{round_}", measure)

    def order(self, library: str, source: str) -> dict[str, Any]:
        """Which processes and workers give the same batches, and whether each image came once."""

        def measure() -> dict[str, Any]:
            result: dict[str, Any] = {}
            for world in (1, 2, 4):
                for workers in (0, 2):
                    found = self.run(library, "224 px", source, world=world, workers=workers)
                    errors = [f["error"] for f in found if "error" in f]
                    batches = together(found)
                    images = [n for batch in batches for n in batch]
                    result[f"{world}x{workers}"] = dict(
                        order=hash_of(batches), images=len(images), different=len(set(images))
                    ) | ({"error": errors[0]} if errors else {})
            return result

        return self.once(f"order/{library}/{source}", measure)

    def resume(self, library: str, source: str, workers: int) -> dict[str, Any]:
        """Whether a run of two processes that was stopped goes on as one that was not."""

        def measure() -> dict[str, Any]:
            whole = together(self.run(library, "224 px", source, world=2, workers=workers))
            begun = self.run(library, "224 px", source, world=2, workers=workers, stop=BEHIND)
            result: dict[str, Any] = {}
            states = [b.get("state") for b in begun]
            for world in (2, 1, 4):
                more: dict[str, Any] = dict(
                    state=[states[min(r, 1)] for r in range(world)] if states[0] else None
                )
                rest = self.run(
                    *(library, "224 px", source),
                    world=world,
                    workers=workers,
                    behind=BEHIND,
                    **more,
                )
                errors = [r["error"] for r in rest if "error" in r]
                batches = together(rest)
                seen = {n for batch in whole[:BEHIND] for n in batch}
                images = [n for batch in batches for n in batch]
                result[f"to {world}"] = dict(
                    exact=batches == whole[BEHIND:],
                    again=len(seen & set(images)),
                    never=2000 - len(seen | set(images)),
                ) | ({"error": errors[0]} if errors else {})
            return result

        return self.once(f"resume/{library}/{source}/{workers}", measure)

    def fault(self, library: str, fault: str, times: float) -> dict[str, Any]:
        """What a library makes of a shard that the server spoils, once or always."""

        def measure() -> dict[str, Any]:
            env = self.place(library, "224 px", "server")[1]
            ends = (".mds", ".bin", ".tar", ".parquet")
            shard = [n for n in json.loads(env["SHARDS_OF_SET"]) if n.endswith(ends)][3]
            self.server.faults = {shard: (fault, times)}
            found = self.run(library, "224 px", "server", what="rate")[0]
            self.server.faults = {}
            names = found.get("names", [])
            return dict(
                images=len(names), seconds=found.get("seconds", LIMIT), error=found.get("error")
            )

        return self.once(f"fault/{library}/{fault}/{times}", measure)


def hash_of(value: Any) -> str:
    """Short, to tell orders apart."""
    import hashlib

    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:8]


def plan(args: argparse.Namespace) -> Iterator[tuple]:
    """All measurements."""
    names = args.only
    remote = [n for n in names if libraries.LIBRARIES[n].remote]
    for round_ in range(args.repeats):
        for name in SETS:
            for source, those in (("disk", names), ("server", remote)):
                for library in those:
                    yield "rate", library, name, source, round_
    for library in names:
        yield "memory", library
        source = "server" if library in remote else "disk"
        yield "order", library, source
        yield "resume", library, source, 2
    for library in remote:
        for fault in ("stall", "error", "half", "changed"):
            for times in (1, 1e9)[fault == "stall" :]:
                yield "fault", library, fault, times


def main() -> None:
    """Measures what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cifar10", type=Path, help="train.npz of xmoco cifar10-to-npz")
    parser.add_argument("--photos", type=Path, help="folder of JPEGs with sides from 224 px")
    parser.add_argument("--work", type=Path, help="folder for the images and sets")
    parser.add_argument("--out", type=Path, help="writes FILE.jsonl")
    parser.add_argument(
        "--only", nargs="*", choices=libraries.LIBRARIES, default=[*libraries.LIBRARIES]
    )
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    measure = Measure(args)

    def memory(library: str) -> dict[str, Any]:
        return measure.once(
            f"memory/{library}",
            lambda: {
                k: v
                for k, v in measure.run(library, "32 px", "disk", workers=2, what="memory")[
                    0
                ].items()
                if k != "batches"
            },
        )

    for what, *arguments in plan(args):
        try:
            {
                **{k: getattr(measure, k) for k in ("rate", "order", "resume", "fault")},
                "memory": memory,
            }[what](*arguments)
        except Exception as error:
            print(what, *arguments, "failed:", repr(error)[:500], flush=True)
    os._exit(0)  # clients of the server may have threads that wait


if __name__ == "__main__":
    main()
