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
from mmengine.dataset import RepeatDataset
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, MODELS
from step_models import Step, models, step_of, wrapper_of

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
    folder = dict(
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
        images = DATASETS.build(folder)
        # No epoch ends while it is timed: its end is where all workers stand still.
        needed = (args.warm_up + args.steps + 2 * max(args.workers, 1)) * args.batch
        loader.dataset = RepeatDataset(images, times=-(-needed // len(images)))
        built = Runner.build_dataloader(loader)
    return itertools.chain.from_iterable(itertools.repeat(built))


def watched(loader: Iterator[dict], waits: list[float]) -> Iterator[dict]:
    """The batches; notes the seconds that each was waited for."""
    while True:
        asked = time.perf_counter()
        batch = next(loader)
        waits.append(time.perf_counter() - asked)
        yield batch


# From JPEGs: the model, the config of its data path, and whether the next batch is made ahead. The
# fast ones first: where time is short they are what is wanted.
FAST = ("ours, fast", "xmoco_r50_8xb32_fast.py")
WAYS = {
    "ours, fast, next batch ahead": FAST,
    "ours, fast, JPEGs decoded on the device, next batch ahead": FAST,
    "mmpretrain AMP": ("mmpretrain AMP", "xmoco_r50_8xb32.py"),
    "mmpretrain": ("mmpretrain", "xmoco_r50_8xb32.py"),
    "ours, fast, device views": FAST,
    "ours, CPU views": ("ours", "xmoco_r50_8xb32.py"),
    "ours, device views": ("ours", "xmoco_r50_8xb32_deviceviews.py"),
}


def end_to_end(args: argparse.Namespace, device: str) -> Iterator[dict]:
    """A row for each way whose model there is; a model that several ways share is built once."""
    known = models(args, device == "cuda")
    steps: dict[str, Step] = {}
    for way, (name, config) in WAYS.items():
        if name not in known:
            continue
        if name not in steps:
            build, wrapper_cfg = known[name]
            model = build().to(device).train()
            steps[name] = step_of(model, wrapper_of(model, wrapper_cfg))
        yield from_jpegs(way, config, steps[name], args, device)


def from_jpegs(
    way: str, config: str, step: Step, args: argparse.Namespace, device: str
) -> dict[str, object]:
    """Images a second from JPEGs to updated weights, of the clock, and the wait for data.

    The host waits for each step, as mmengine does where it reads the losses. "waits for data" is
    the host's, of which a GPU notices nothing while it still has work; "between steps" is how long
    the GPU, or the CPU, does nothing of the step: views, if no other stream makes them, included.
    """
    cfg = Config.fromfile(config_path(config))
    if "decoded on the device" in way:
        cfg.train_dataloader.dataset.pipeline[0].defer_jpegs = True
    preprocessor = MODELS.build(cfg.model.get("data_preprocessor", cfg.get("data_preprocessor")))
    preprocessor.to(device)
    stream = torch.cuda.Stream() if way.endswith("ahead") and device == "cuda" else None
    waits: list[float] = []
    prefetcher = Prefetcher(
        watched(batches(cfg.train_dataloader, args), waits), preprocessor, stream
    )
    marks: list = [_mark(device)]
    start = time.perf_counter()
    for i, batch in enumerate(itertools.islice(prefetcher, args.warm_up + args.steps), 1):
        marks.append(_mark(device))
        step(batch["inputs"])
        marks.append(_mark(device))
        if stream is not None:
            prefetcher.prepare()
        _finish(device)
        if i == args.warm_up:
            waits.clear()
            marks = marks[-1:]
            start = time.perf_counter()
    taken = time.perf_counter() - start
    pauses = [_between(a, b) for a, b in zip(marks[::2], marks[1::2], strict=False)]
    return {
        "way": way,
        "images/s": args.steps * args.batch / taken,
        "waits for data %": 100 * sum(waits) / taken,
        "between steps %": 100 * sum(pauses) / taken,
    }


def _mark(device: str):
    """Now, on the stream of the steps."""
    if device == "cpu":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(a, b) -> float:
    return b - a if isinstance(a, float) else a.elapsed_time(b) / 1e3


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
