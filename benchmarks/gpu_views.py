# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Parts of gpu_run.sh: views of images that are decoded already, and the loss head."""

import argparse
import functools
import itertools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import loss as loss_benchmark
import measure
import numpy as np
import torch
import views as views_benchmark
from mmpretrain.registry import MODELS

from xmoco_plugin.data import decode_image
from xmoco_plugin.losses.queue_softmax import CHUNK_SIZE
from xmoco_plugin.views import ragged_collate

PREPROCESSOR = dict(
    type="TwoViewDataPreprocessor",
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
    non_blocking=True,
)
PAIRS = 2**28  # N x K, as loss.py has it on a GPU


def views(part: Any) -> None:
    """Images a second of each way to make both views, of the batch that a loader hands over."""
    warnings.filterwarnings("ignore", category=UserWarning)  # the hosts' own
    sizes, device = part.sizes, part.device
    found = sorted(f for f in part.images.rglob("*") if f.suffix.lower() in (".jpg", ".jpeg"))
    files = list(itertools.islice(itertools.cycle(found), sizes.batch))
    choices = {**our_views(files, device), **their_views(files, device, part.note)}
    for name in part.within(3, list(choices)):
        with part.attempt(way=name, batch=sizes.batch) as row:
            way = choices[name]()
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
            way()
            seconds = measure.alternate({"": way}, sizes.repeats, device)[""]
            row["ms"] = 1e3 * seconds
            row["its rounds"] = measure.spread([1e3 * s for s in seconds.rounds])
            row["images/s"] = len(files) / seconds
            if device == "cuda":
                row["GB"] = torch.cuda.max_memory_allocated() / 1e9
            del way


def our_views(files: list[Path], device: str) -> dict[str, Callable[[], Callable]]:
    """What prepares each way: float32, with tensor cores, and from files that nvJPEG decodes."""

    def batch(load: Callable[[Path], torch.Tensor]) -> dict:
        data = ragged_collate([dict(inputs=load(f)) for f in files])
        if device == "cuda":
            data["inputs"]["pixels"] = data["inputs"]["pixels"].pin_memory()
        return data

    def pixels(file: Path) -> torch.Tensor:
        return torch.from_numpy(decode_image(file.read_bytes()))

    def encoded(file: Path) -> torch.Tensor:
        return torch.from_numpy(np.fromfile(file, np.uint8))

    def way(load: Callable, products: str = "highest", **options) -> Callable[[], Callable]:
        def prepare() -> Callable:
            data = batch(load)
            preprocessor = MODELS.build({**PREPROCESSOR, **options}).to(device)

            def run() -> None:
                torch.set_float32_matmul_precision(products)
                preprocessor(data, training=True)

            return run

        return prepare

    return {
        "ours, float32": way(pixels),
        "ours, TF32": way(pixels, "high"),
        "ours, float16": way(pixels, precision="float16"),
        "ours, decoding too": way(encoded),
    }


def their_views(
    files: list[Path], device: str, note: Callable[[str], None]
) -> dict[str, Callable[[], Callable]]:
    """Those of kornia and DALI, where they are installed; else a note."""
    ways: dict[str, Callable[[], Callable]] = {}

    def kornia() -> Callable:
        both = views_benchmark.kornia_views()
        images = [cv2.resize(decode_image(f.read_bytes()), views_benchmark.SQUASHED) for f in files]
        stack = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
        stack = stack.to(device)
        return lambda: [both(stack), both(stack)]

    def dali() -> Callable:
        from dali_views import two_views

        run = two_views(len(files), 16 if device == "cuda" else 1, device)
        return lambda: run(files)

    for package, name, prepare in (
        ("kornia", "kornia (squashed, not antialiased)", kornia),
        ("nvidia.dali", "DALI, decoding too", dali),
    ):
        if measure.installed(package):
            ways[name] = prepare
        else:
            note(f"{name.split(' ')[0].rstrip(',')} is not installed")
    return ways


def loss(part: Any) -> None:
    """Time and extra memory of the heads, N queries against K keys, forwards and backwards."""
    real = ([256, 1024, 4096], [65536, 1048576])
    queries, keys = ([4], [64]) if part.rehearsal else real
    sizes = [(n, k) for n, k in itertools.product(queries, keys) if n * k <= PAIRS]
    heads = loss_benchmark.heads(16 if part.rehearsal else CHUNK_SIZE)
    named = {f"N = {n}, K = {k}": (n, k) for n, k in sizes}
    for name in part.within(3, list(named)):
        n, k = named[name]
        with part.attempt(N=n, K=k) as row:
            row.update(timed_heads(heads, n, k, part.device, part.sizes))


def timed_heads(
    heads: dict[str, Callable], n: int, k: int, device: str, sizes: argparse.Namespace
) -> dict[str, float | str]:
    """Columns of one size, as loss.py has them; no memory on a CPU, where it takes a fork."""
    row: dict[str, float | str] = {}
    runs = {name: loss_benchmark.step(head, n, k, device) for name, head in heads.items()}
    seconds = measure.alternate(runs, sizes.repeats, device)
    for name in heads:
        row[f"{name} ms"] = 1e3 * seconds[name]
    del runs
    if device == "cuda":
        for name, head in heads.items():
            prepare = functools.partial(loss_benchmark.step, head, n, k, device)
            peak = measure.peak_memory(prepare, device)
            row[f"{name} MB"] = peak / 1e6
    row["time ratio"], row["its rounds"] = measure.ratio(seconds["chunks"], seconds["mmpretrain"])
    return row
