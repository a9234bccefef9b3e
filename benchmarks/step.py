# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One step of MoCo v2: mmpretrain's, lightly's modules, and ours without and with the terms.

From two views that are there already to updated weights and queue, in turns; then ours by parts.
With --images whole steps from JPEGs too: mmpretrain's data path and model beside device views, the
fast settings and the next batch made ahead, with the share of the time that the host waits for a
batch.
"""

import argparse
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import measure
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from step_models import models, step_of, wrapper_of

from xmoco_plugin import config_path
from xmoco_plugin._config_scope import unmark_collate
from xmoco_plugin.views import Prefetcher

SHUFFLE = "shuffle and back"


def draw_views(args: argparse.Namespace, device: str) -> list[torch.Tensor]:
    """Two views that are there already."""
    return [torch.randn(args.batch, 3, args.size, args.size, device=device) for _ in range(2)]


def prepared(build: Callable, wrapper_cfg: dict, args: argparse.Namespace, device: str):
    """A step with its own two views, ready to be called."""
    torch.manual_seed(0)
    model = build().to(device).train()
    views, step = draw_views(args, device), step_of(model, wrapper_of(model, wrapper_cfg))
    return lambda: step(views)


def breakdown(args: argparse.Namespace, device: str) -> list[dict]:
    """Seconds of each part of ours with the terms, each waited for (on a GPU the sum is longer)."""
    build, wrapper_cfg = models(args, device == "cuda")["ours"]
    model = build().to(device).train()
    wrapper = wrapper_of(model, wrapper_cfg)
    step, views = step_of(model, wrapper), draw_views(args, device)
    parts = {
        "query forward": (model, "encode_query"),
        "key forward": (model.encoder_k, "forward"),
        SHUFFLE: (model, "encode_key"),
        "loss": (model.head, "loss"),
        "momentum update": (model.encoder_k, "update_parameters"),
        "queue": (model, "_dequeue_and_enqueue"),
        "backward": (wrapper, "backward"),
        "optimizer": (wrapper, "step"),
    }
    spent = dict.fromkeys(parts, 0.0)
    now = _clock(device)
    for name, (owner, attribute) in parts.items():
        function = getattr(owner, attribute)

        def timed(*a, name=name, function=function, **k):
            start = now()
            result = function(*a, **k)
            spent[name] += now() - start
            return result

        object.__setattr__(owner, attribute, timed)
    step(views)  # warms up
    spent.update(dict.fromkeys(parts, 0.0))
    start = now()
    for _ in range(args.repeats):
        step(views)
    whole = now() - start
    spent[SHUFFLE] -= spent["key forward"]  # the one is within the other
    spent["rest"] = whole - sum(spent.values())
    return [
        {"part of ours": name, "ms": 1e3 * s / args.repeats, "share %": 100 * s / whole}
        for name, s in spent.items()
    ]


def _clock(device: str) -> Callable[[], float]:
    if device == "cpu":
        return time.process_time

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


def batches(loader: ConfigDict, args: argparse.Namespace) -> Iterator[dict]:
    """The batches of a training loader, from the JPEGs of --images, without end."""
    unmark_collate(loader)
    loader.dataset = dict(
        type="UnlabeledFolder", data_root=str(args.images), pipeline=loader.dataset.pipeline
    )
    loader.update(
        batch_size=args.batch,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        pin_memory=torch.cuda.is_available(),
        drop_last=True,
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        built = Runner.build_dataloader(loader)
    return itertools.chain.from_iterable(itertools.repeat(built))


def watched(loader: Iterator[dict], waits: list[float]) -> Iterator[dict]:
    """The batches; notes the seconds that each was waited for."""
    while True:
        asked = time.perf_counter()
        batch = next(loader)
        waits.append(time.perf_counter() - asked)
        yield batch


def end_to_end(args: argparse.Namespace, device: str) -> list[dict]:
    """Images a second from JPEGs to updated weights, of the clock, and the wait for data."""
    known = models(args, device == "cuda")
    ways = {
        "mmpretrain": ("mmpretrain", "xmoco_r50_8xb32.py"),
        "mmpretrain AMP": ("mmpretrain AMP", "xmoco_r50_8xb32.py"),
        "ours, CPU views": ("ours", "xmoco_r50_8xb32.py"),
        "ours, fast, device views": ("ours, fast", "xmoco_r50_8xb32_fast.py"),
        "ours, fast, next batch ahead": ("ours, fast", "xmoco_r50_8xb32_fast.py"),
        "ours, device views": ("ours", "xmoco_r50_8xb32_deviceviews.py"),
    }
    rows = []
    for way, (name, config) in ways.items():
        if name not in known:
            continue
        build, wrapper_cfg = known[name]
        model = build().to(device).train()
        cfg = Config.fromfile(config_path(config))
        step = step_of(model, wrapper_of(model, wrapper_cfg))
        preprocessor = MODELS.build(
            cfg.model.get("data_preprocessor", cfg.get("data_preprocessor"))
        )
        preprocessor.to(device)
        stream = torch.cuda.Stream() if way.endswith("ahead") else None
        waits: list[float] = []
        loader = watched(batches(cfg.train_dataloader, args), waits)
        prefetcher = Prefetcher(loader, preprocessor, stream)
        start = time.perf_counter()
        for i, batch in enumerate(itertools.islice(prefetcher, args.warm_up + args.steps), 1):
            step(batch["inputs"])
            if stream is not None:
                prefetcher.prepare()
            if i == args.warm_up:
                _finish(device)
                waits.clear()
                start = time.perf_counter()
        _finish(device)
        taken = time.perf_counter() - start
        rows.append(
            {
                "way": way,
                "images/s": args.steps * args.batch / taken,
                "waits for data %": 100 * sum(waits) / taken,
            }
        )
    return rows


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser)
    parser.add_argument(
        "--batch",
        type=int,
        default=32 if torch.cuda.is_available() else 8,
        help="default: 32, without a GPU 8",
    )
    parser.add_argument("--size", type=int, default=224, help="pixels of a view's side")
    parser.add_argument("--depth", type=int, default=50, choices=(18, 50), help="of the ResNet")
    parser.add_argument("--queue", type=int, default=65536)
    parser.add_argument("--images", type=Path, help="folder of JPEGs for the second table")
    parser.add_argument("--workers", type=int, default=0, help="processes that read --images")
    parser.add_argument("--warm-up", type=int, default=2, help="steps from JPEGs, not timed")
    parser.add_argument(
        "--steps",
        type=int,
        default=10 if torch.cuda.is_available() else 3,
        help="steps from JPEGs (default: 10, without a GPU 3)",
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    warnings.filterwarnings("ignore", category=UserWarning)  # the hosts' own
    sizes = dict(N=args.batch, size=args.size, depth=args.depth, K=args.queue)
    choices = models(args, device == "cuda")
    # Memory first: processes are forked before torch has threads.
    peaks = {
        name: measure.peak_memory(lambda: prepared(*choice, args, device), device)  # noqa: B023
        for name, choice in choices.items()
    }
    steps = {name: prepared(*choice, args, device) for name, choice in choices.items()}
    seconds = measure.alternate(steps, args.repeats, device)
    rows: list[dict] = []
    for name, taken in seconds.items():
        row = {"model": name, **sizes, "ms": 1e3 * taken, "images/s": args.batch / taken}
        row["MB"] = peaks[name] / 1e6
        for other in ("mmpretrain", "ours, no terms"):
            row[f"time / {other}"], row[f"of {other}, rounds"] = measure.ratio(
                taken, seconds[other]
            )
        rows.append(row)
    del steps
    rows += breakdown(args, device)
    if args.images is not None:
        rows += end_to_end(args, device)
    measure.report("One training step", rows, measure.environment(device), args)


if __name__ == "__main__":
    main()
