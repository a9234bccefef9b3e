# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What grows in a long run, and what many files cost: memory, open files, /dev/shm, the log.

steps: so many of a tiny network, with a worker, all hooks of the commands and a checkpoint now and
then. checkpoints: one a second for so many seconds. listing: a list of so many files, its start and
the memory of the process and of a worker.
"""

import argparse
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

import measure
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image

from xmoco_plugin.cli.runners import build_runner
from xmoco_plugin.data import ListedImages
from xmoco_plugin.weights.whole import fault

SHARED = Path("/dev/shm")


def memory(pid: str = "self") -> tuple[float, float]:
    """MB that a process holds, and of these its own: shared with no other."""
    found = dict(resident=0.0, own=0.0)
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "Rss":
            found["resident"] = int(rest.split()[0]) / 1e3
        elif name in ("Private_Clean", "Private_Dirty"):
            found["own"] += int(rest.split()[0]) / 1e3
    return found["resident"], found["own"]


def children() -> list[str]:
    """Numbers of the processes that this one has started."""
    here = os.getpid()
    return Path(f"/proc/{here}/task/{here}/children").read_text().split()


class Watch(Hook):
    """Notes every so many steps what a run holds; may wait so long after each step."""

    priority = "LOWEST"

    def __init__(self, every: int, wait: float = 0.0) -> None:
        self.every, self.wait = every, wait
        self.rows: list[dict] = []
        self._began = time.perf_counter()

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch=None, outputs=None):
        time.sleep(self.wait)
        if (runner.iter + 1) % self.every:
            return
        folder = Path(runner.work_dir)
        logs = [f for f in folder.rglob("*") if f.suffix in (".log", ".jsonl", ".json")]
        workers = [memory(pid)[1] for pid in children()]
        self.rows.append(
            {
                "step": runner.iter + 1,
                "seconds": round(time.perf_counter() - self._began),
                "resident MB": memory()[0],
                "workers' own MB": max(workers, default=0.0),
                "open files": len(os.listdir("/proc/self/fd")),
                "/dev/shm MB": sum(f.stat().st_size for f in SHARED.glob("torch_*")) / 1e6,
                "logs MB": sum(f.stat().st_size for f in logs) / 1e6,
                "checkpoints": len([*folder.glob("*.pth")]),
            }
        )
        print(self.rows[-1], file=sys.stderr, flush=True)


def config(folder: Path, workers: int, checkpoint: dict, steps: int) -> Config:
    """A tiny network on 64 images of noise."""
    images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    names = []
    for number, image in enumerate(images):
        names.append(str(folder / f"{number:02d}.png"))
        Image.fromarray(image).save(names[-1])
    (folder / "files.txt").write_text("\n".join(names) + "\n")
    view = dict(recipe="mocov2", size=16, blur_prob=0.0)
    return Config(
        dict(
            default_scope="mmpretrain",
            launcher="none",
            work_dir=str(folder / "run"),
            model=dict(
                type="XMoCo",
                queue_len=32,
                feat_dim=8,
                data_preprocessor=dict(
                    type="SelfSupDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3
                ),
                backbone=dict(type="ResNet_CIFAR", depth=18, base_channels=4, stem_channels=4),
                neck=dict(type="MoCoV2Neck", in_channels=32, hid_channels=8, out_channels=8),
                head=dict(type="XMoCoHead", temperature=0.2, consistency=dict(), uniformity=dict()),
            ),
            train_dataloader=dict(
                batch_size=8,
                num_workers=workers,
                persistent_workers=workers > 0,
                drop_last=True,
                sampler=dict(type="InfiniteSampler", shuffle=True),
                collate_fn=dict(type="default_collate"),
                dataset=dict(
                    type="ListedImages",
                    ann_file=str(folder / "files.txt"),
                    pipeline=[
                        dict(type="LoadImageOrSkip"),
                        dict(type="TwoViews", views=view),
                        dict(type="PackInputs", meta_keys=("sample_idx", "img_path")),
                    ],
                ),
            ),
            train_cfg=dict(type="IterBasedTrainLoop", max_iters=steps),
            optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.01, momentum=0.9)),
            default_hooks=dict(
                logger=dict(type="LoggerHook", interval=10),
                checkpoint=dict(type="CheckpointHook", by_epoch=False, **checkpoint),
            ),
            visualizer=dict(
                type="UniversalVisualizer",
                vis_backends=[dict(type="LocalVisBackend"), dict(type="JsonLinesVisBackend")],
            ),
            randomness=dict(seed=0),
        )
    )


def train(checkpoint: dict, steps: int, every: int, workers: int, wait: float = 0.0) -> list[dict]:
    """Trains so many steps; the rows of :class:`Watch`."""
    with tempfile.TemporaryDirectory() as place:
        folder, watch = Path(place), Watch(every, wait)
        runner = build_runner(config(folder, workers, checkpoint, steps))
        runner.register_hook(watch)
        runner.train()
        kept = sorted((folder / "run").glob("*.pth"))
        broken = [file.name for file in kept if fault(file)]
        left = [file.name for file in (folder / "run").iterdir() if file.name.startswith(".")]
        if broken or left or len(kept) != checkpoint["max_keep_ckpts"]:
            raise RuntimeError(f"kept {kept}, of them broken {broken}; left behind {left}")
        return watch.rows


def listing(count: int) -> list[dict]:
    """What a list of so many files costs."""
    with tempfile.TemporaryDirectory() as place, DefaultScope.overwrite_default_scope("mmpretrain"):
        file = Path(place, "files.txt")
        with open(file, "w") as text:
            text.writelines(f"/data/photos/{n % 997:03d}/image_{n:09d}.jpg\n" for n in range(count))
        before, began = memory()[0], time.perf_counter()
        images = ListedImages(str(file), pipeline=[])
        images.full_init()
        ready = time.perf_counter() - began
        after = memory()[0]
        loader = torch.utils.data.DataLoader(
            images, batch_size=64, num_workers=1, shuffle=True, collate_fn=len
        )
        began, worker, first = time.perf_counter(), [], 0.0
        for number, _ in enumerate(loader):
            if not number:
                first = time.perf_counter() - began
            if number % 100 == 0:
                worker.append(memory(children()[-1])[1])
            if number == 1000:
                break
        return [
            {
                "files": count,
                "list MB": file.stat().st_size / 1e6,
                "ready s": ready,
                "process + MB": after - before,
                "first batch s": first,
                "worker's own MB at first": worker[0],
                "after 64,000 images": worker[-1],
            }
        ]


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--every", type=int, default=1000, help="steps between two rows")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seconds", type=int, default=180, help="of a checkpoint a second")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("parts", nargs="*", default=["listing", "steps", "checkpoints"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for part in args.parts:
        if part == "listing":
            rows, title = listing(args.files), "A list of files"
        elif part == "steps":
            checkpoint = dict(interval=args.every, max_keep_ckpts=3)
            rows = train(checkpoint, args.steps, args.every, args.workers)
            title = "Steps of a tiny network"
        else:
            checkpoint = dict(interval=1, max_keep_ckpts=3)
            rows = train(checkpoint, args.seconds, max(args.seconds // 6, 1), 0, wait=1.0)
            title = "A checkpoint a second"
        out = args.out and args.out.with_name(f"{args.out.name}_{part}")
        measure.report(
            title,
            rows,
            measure.environment(),
            argparse.Namespace(**{**vars(args), "out": out}),
        )


if __name__ == "__main__":
    main()
