# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A frozen teacher of ours beside lightly-train's distillation: speed alone, random weights.

ResNet-18 learns from a ViT-S/14 or a ResNet-50 that knows nothing. First one step from views that
are there, in turns; then, with --images, whole trainings by command from JPEGs, in turns.
lightly-train (AGPL-3.0) is measured in an environment of its own, --peer; without it, ours alone.
"""

import argparse
import contextlib
import json
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import measure
import teacher_peer_runs as runs
import torch
from measure import Seconds
from teacher_peer_nets import BF16, FLOAT32, TEACHERS, own_ways

PEER = f"{runs.THEIRS}, distillation"  # its default method, which takes either teacher
VERSION = "0.18.0"
DIFFERENCES = (
    "lightly-train's `distillation` (its default, the third) has a second term, of the places of "
    "the last maps; its `distillationv1` has the relation to the queue alone, as ours, and takes "
    "no ResNet as a teacher.",
    "It mixes the images of a batch in pairs, clips gradients, and steps by AdamW or LARS; ours "
    "steps by SGD and has two layers after the student, where it has one of each term. Its queue "
    "holds the teacher's 384 or 2,048 numbers, ours 256.",
    "Its views are made by albumentations, ours by `OneView`: crop, flip, jitter, grey and blur, "
    "with other probabilities. One view of each image on either side.",
    "Whole trainings of ours have `channels_last=True`, as `xmoco pretrain` sets it on a CPU, and "
    "health figures each 50 steps; lightly-train's has its own log and checkpoints. Start, end and "
    "the steps that warm up are not in the rate; the teacher's pass is told by itself.",
    "`stored` sees each image whole and once, lightly-train's teacher every view: a mixed image "
    "has no stored features.",
)


def take_turns(
    ways: Mapping[str, Callable[[], float]], repeats: int
) -> tuple[dict[str, Seconds], dict[str, str]]:
    """What each way returns, in turns after one that warms up; and why some have nothing."""
    found: dict[str, list[float]] = {name: [] for name in ways}
    failed: dict[str, str] = {}
    for round_ in range(repeats + 1):
        for name, way in ways.items():
            if name in failed:
                continue
            try:
                seconds = way()
            except Exception as error:  # the others can be told all the same
                failed[name] = " ".join(f"{type(error).__name__}: {error}".split())[:300]
                continue
            if round_:
                found[name].append(seconds)
    return {n: Seconds(s) for n, s in found.items() if n not in failed}, failed


def timed(way: Callable[[], object], args: argparse.Namespace, device: str) -> float:
    """Seconds of one call, of the clock that both sides are told by."""
    alone = device == "cpu" and args.threads == 1
    clock = time.process_time if alone else time.perf_counter
    start = clock()
    way()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - start


def steps(
    args: argparse.Namespace, name: str, precision: str, device: str, peer: bool
) -> Iterator[dict[str, Any]]:
    """A row for each step of a teacher, and for the teachers alone."""
    what = dict(teacher=name, precision=precision)
    own = own_ways(TEACHERS[name], precision, args, device)
    ways = {way: partial(timed, f, args, device) for way, f in own.items()}
    with contextlib.ExitStack() as stack:
        if peer:
            ways |= stack.enter_context(runs.their_ways(args, name, precision, device))
        found, failed = take_turns(ways, args.repeats)
    alone = f"teacher alone, {runs.THEIRS}"
    for way, seconds in found.items():
        row: dict[str, Any] = {"step": way, **what, "ms": 1e3 * seconds}
        row["rounds, ms"] = measure.spread([1e3 * s for s in seconds.rounds])
        row["images/s"] = args.batch / seconds
        other = found.get(alone if way.startswith("teacher") else PEER)
        if other is not None:
            row["time / lightly-train"], row["of it, rounds"] = measure.ratio(seconds, other)
        yield row
    for way, why in failed.items():
        yield {"step": way, **what, "failed": why}


def training_ways(
    args: argparse.Namespace, name: str, precision: str, device: str, peer: bool
) -> dict[str, Callable[[Path], runs.Trained]]:
    """Whole trainings with a teacher; each is given a folder that is not there."""
    ways: dict[str, Callable[[Path], runs.Trained]] = {
        "ours, crop": partial(runs.train_ours, args, name, True, precision, device),
        "ours, stored": partial(runs.train_ours, args, name, False, precision, device),
    }
    for method in TEACHERS[name].methods if peer else ():
        trained = partial(runs.train_theirs, args, name, method, precision, device)
        ways[f"{runs.THEIRS}, {method}"] = trained
    return ways


def trainings(
    args: argparse.Namespace, name: str, precision: str, device: str, peer: bool
) -> Iterator[dict[str, Any]]:
    """A row for each whole training of a teacher."""
    what = dict(teacher=name, precision=precision)
    ways = training_ways(args, name, precision, device, peer)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    asked: dict[str, list[float]] = {way: [] for way in ways}
    failed: dict[str, str] = {}
    for round_ in range(args.rounds):
        for way, train in ways.items():
            if way in failed:
                continue
            with tempfile.TemporaryDirectory(prefix="teacher_peer_") as folder:
                try:
                    rate, one = train(Path(folder, "training"))
                except runs.Failed as error:
                    failed[way] = str(error)
                    continue
            print(f"round {round_ + 1}: {name}, {way}: {rate:.3g} images/s", flush=True)
            rates[way].append(rate)
            asked[way] += [] if one is None else [one]
    yield from table_of({way: r for way, r in rates.items() if way not in failed}, asked, what)
    for way, why in failed.items():
        yield {"training": way, **what, "failed": why}


def table_of(
    rates: Mapping[str, list[float]], asked: Mapping[str, list[float]], what: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Rows of rates in images a second, a number a round, of trainings and of teachers' passes."""
    for way, own in rates.items():
        row: dict[str, Any] = {"training": way, **what, "images/s": statistics.median(own)}
        row["rounds"] = measure.spread(own)
        theirs = rates.get(PEER)
        if theirs:
            ratios = [a / b for a, b in zip(own, theirs, strict=True)]
            row["times lightly-train"] = statistics.median(ratios)
            row["times it, rounds"] = measure.spread(ratios)
        if asked.get(way):
            row["pass, images/s"] = statistics.median(asked[way])
            row["pass, rounds"] = measure.spread(asked[way])
            if theirs:
                row["less time from epoch"] = epochs_until_paid(
                    row["images/s"], row["pass, images/s"], statistics.median(theirs)
                )
        yield row


def epochs_until_paid(stored: float, asked: float, other: float) -> float | str:
    """From how many epochs on a pass and steps with stored features take less than the other.

    Args:
        stored, asked, other: images a second of those steps, of the pass, of the other's steps.
    """
    saved = 1 / other - 1 / stored  # seconds an image
    return 1 / asked / saved if saved > 0 else "never"


def look_for_peer(args: argparse.Namespace) -> tuple[str | None, str]:
    """Version of lightly-train that is measured, and what to say of it: how to have it."""
    found = runs.version_of_peer(args)
    if found is not None:
        return found, f"lightly-train {found}"
    named = f"cannot be imported by {args.peer}" if args.peer else "not named (--peer)"
    return None, (
        f"lightly-train is {named}: ours alone is measured. It needs an environment of its own, "
        "because its transformers is too new for mmpretrain: python -m venv peer && "
        f"peer/bin/pip install lightly-train=={VERSION} torch=={torch.__version__.split('+')[0]}, "
        "then --peer peer/bin/python"
    )


def parser() -> argparse.ArgumentParser:
    """Of the options."""
    made = argparse.ArgumentParser(description=__doc__)
    cuda = torch.cuda.is_available()
    add = made.add_argument
    measure.add_arguments(made, repeats=7)
    add("--peer", type=Path, help="Python, or folder of packages, that has lightly-train")
    add("--teachers", nargs="+", choices=TEACHERS, default=[*TEACHERS], help="default: both")
    add("--precision", nargs="+", choices=(BF16, FLOAT32), default=[BF16], help="default: bf16")
    add("--batch", type=int, default=256 if cuda else 16, help="default: 256, without a GPU 16")
    add("--size", type=int, default=224 if cuda else 112, help="of views (224, without a GPU 112)")
    add("--queue", type=int, default=4096 if cuda else 128, help="keys (4,096, without a GPU 128)")
    add("--images", type=Path, help="folder of JPEGs, for whole trainings")
    add("--steps", type=int, default=48 if cuda else 12, help="of a whole training that are timed")
    add("--warm-up", type=int, default=24 if cuda else 4, help="steps before those, at least 1")
    add("--rounds", type=int, default=3, help="of whole trainings")
    add("--workers", type=int, default=16 if cuda else 0, help="processes that read JPEGs")
    return made


def main() -> None:
    """Measures."""
    args = parser().parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    warnings.filterwarnings("ignore", category=UserWarning)  # the hosts' own
    peer, text = look_for_peer(args)
    print(text, flush=True)
    facts = measure.environment(device) | {"lightly-train": peer or "not measured"}
    facts |= dict(batch=args.batch, size=args.size, queue=args.queue, workers=args.workers)
    rows: list[dict[str, Any]] = []
    for step in measured(args, device, peer is not None):
        print(json.dumps(step), flush=True)
        rows.append(step)
    rows.sort(key=lambda row: next(iter(row)))  # a table of steps, a table of trainings
    measure.report("A frozen teacher beside lightly-train's", rows, facts, args, DIFFERENCES)


def measured(args: argparse.Namespace, device: str, peer: bool) -> Iterator[dict[str, Any]]:
    """All rows, as they are found."""
    with tempfile.TemporaryDirectory(prefix="teacher_peer_") as scratch:
        if args.images is not None:
            runs.provide_images(args, Path(scratch, "images"))
        for name in args.teachers:
            for precision in args.precision:
                yield from steps(args, name, precision, device, peer)
                if args.images is not None:
                    yield from trainings(args, name, precision, device, peer)


if __name__ == "__main__":
    main()
