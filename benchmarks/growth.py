# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How cost grows: exponents of head, views and shuffle, fitted to measurements on this machine.

Each row is a least-squares line through the logarithms: cost ~ size ^ exponent, with the line's
standard error. The head is N queries against K keys of 128 dimensions, forwards and backwards; the
views are of 224 px, or of images of 256 px, both square; the shuffle's bytes are what one process
receives for --batch images of its own.
"""

import argparse
import math
import tempfile
from collections.abc import Callable, Sequence
from typing import Any

import comm
import loss
import measure
import numpy as np
import torch
from mmpretrain.registry import MODELS

from xmoco_plugin.views import PackRaggedInputs, TwoViews, ragged_collate

IMAGES, VIEW, IMAGE = 8, 224, 256


def fit(sizes: Sequence[float], costs: Sequence[float]) -> tuple[float, float]:
    """Exponent of costs ~ sizes ^ exponent, and its standard error."""
    x, y = np.log(np.asarray(sizes, float)), np.log(np.asarray(costs, float))
    x, y = x - x.mean(), y - y.mean()
    slope = float(x @ y / (x @ x))
    rest = float(((y - slope * x) ** 2).sum())
    return slope, math.sqrt(rest / max(len(x) - 2, 1) / float(x @ x))


def row_of(cost: str, axis: str, sizes: Sequence[int], costs: Sequence[float], unit: str) -> dict:
    """One line of the table."""
    exponent, error = fit(sizes, costs)
    return {
        "cost": cost,
        "against": axis,
        "sizes": ", ".join(f"{size:,}" for size in sizes),
        "measured": ", ".join(f"{value:.3g}" for value in costs) + f" {unit}",
        "exponent": round(exponent, 2),
        "±": round(error, 2),
    }


def head(args: argparse.Namespace, device: str) -> list[dict]:
    """Time and memory of the head, mmpretrain's and ours with both terms."""
    heads = {"mmpretrain's head": loss.host_loss, "our head": lambda: loss.our_loss(args.chunk)}
    heads["our head, terms"] = lambda: loss.our_loss(args.chunk, dict(), dict())
    axes = {
        f"N at K = {args.fixed_keys:,}": {n: (n, args.fixed_keys) for n in args.queries},
        f"K at N = {args.fixed_queries:,}": {k: (args.fixed_queries, k) for k in args.keys},
    }
    pairs = sorted({pair for axis in axes.values() for pair in axis.values()})
    # Memory first: processes are forked before torch has threads.
    peaks = {
        (name, pair): measure.peak_memory(lambda: loss.step(make(), *pair, device), device)  # noqa: B023
        for name, make in heads.items()
        for pair in pairs
    }
    runs: dict[tuple, Callable[[], object]] = {
        (name, pair): loss.step(make(), *pair, device)
        for name, make in heads.items()
        for pair in pairs
    }
    seconds = measure.alternate(runs, args.repeats, device)
    rows = []
    for name in heads:
        for axis, points in axes.items():
            times = [1e3 * seconds[name, pair] for pair in points.values()]
            memory = [max(peaks[name, pair], 1) / 1e6 for pair in points.values()]
            rows.append(row_of(f"{name}: time", axis, list(points), times, "ms"))
            rows.append(row_of(f"{name}: memory", axis, list(points), memory, "MB"))
    return rows


def view_ways(image: int, view: int, device: str) -> dict[str, Callable[[], object]]:
    """Two views of images of noise, by a worker's TwoViews and on the device."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, image, image, 3), dtype=np.uint8)
    batch = ragged_collate([PackRaggedInputs()(dict(img=x)) for x in images])
    worker = TwoViews(views=dict(size=view))
    preprocessor = MODELS.build(
        dict(type="TwoViewDataPreprocessor", views=dict(size=view), mean=[0] * 3, std=[1] * 3)
    ).to(device)
    return {
        "TwoViews": lambda: [worker.transform(dict(img=x)) for x in images],
        f"device views on {device}": lambda: preprocessor(batch, training=True),
    }


def views(args: argparse.Namespace, device: str) -> list[dict]:
    """Time of two views against their side and that of the images."""
    axes = {
        f"the view's side, images of {IMAGE}": {side: (IMAGE, side) for side in args.sides},
        f"the image's side, views of {VIEW}": {side: (side, VIEW) for side in args.sides},
    }
    pairs = sorted({pair for axis in axes.values() for pair in axis.values()})
    runs: dict[tuple, Callable[[], object]] = {
        (name, pair): way for pair in pairs for name, way in view_ways(*pair, device).items()
    }
    seconds = measure.alternate(runs, args.repeats, device)
    return [
        row_of(
            f"{name}: time",
            axis,
            list(points),
            [1e3 * seconds[name, pair] / IMAGES for pair in points.values()],
            "ms an image",
        )
        for name in dict.fromkeys(name for name, _ in runs)
        for axis, points in axes.items()
    ]


def shuffle(args: argparse.Namespace) -> list[dict]:
    """Bytes that a process receives, as comm.py counts them."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [row for size in args.processes for row in comm.run(size, folder, args)]
    found = [row for row in rows if row["part"] == comm.SHUFFLE]
    return [
        row_of(f"{name}: received", "processes", args.processes, [x[key] for x in found], "MB")
        for name, key in (("mmpretrain's shuffle", "host MB"), ("our shuffle", "ours MB"))
    ]


def main() -> None:
    """Measures and fits."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser)
    sizes: dict[str, Any] = dict(type=int, nargs="+")
    parser.add_argument("--queries", **sizes, default=[64, 128, 256, 512], help="values of N")
    parser.add_argument("--keys", **sizes, default=[8192, 16384, 32768, 65536], help="values of K")
    parser.add_argument("--fixed-queries", type=int, default=128)
    parser.add_argument("--fixed-keys", type=int, default=16384)
    parser.add_argument("--chunk", type=int, default=loss.CHUNK_SIZE)
    parser.add_argument("--sides", **sizes, default=[128, 192, 256, 384])
    parser.add_argument(
        "--processes", type=int, nargs="*", default=[2, 4, 8], help="none: without the shuffle"
    )
    parser.add_argument("--batch", type=int, default=32, help="images per process of the shuffle")
    parser.add_argument("--image-size", type=int, default=64, help="of the shuffle")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = head(args, device) + views(args, device)
    rows += shuffle(args) if args.processes else []
    measure.report("How cost grows", rows, measure.environment(device), args)


if __name__ == "__main__":
    main()
