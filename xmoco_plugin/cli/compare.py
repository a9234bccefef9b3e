# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fine-tunes from several starts on the same images, and says which is best: xmoco compare."""

import argparse
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from xmoco_plugin.cli import backbones, console, data_table, learning_rates, share_runs
from xmoco_plugin.cli.compare_results import write_comparison
from xmoco_plugin.cli.detector_starts import bring_all
from xmoco_plugin.cli.options.compare import NAME, RATES, SCRATCH
from xmoco_plugin.cli.seen_before import seen_before
from xmoco_plugin.cli.share_results import Run, Start
from xmoco_plugin.downstream import TrainingSet
from xmoco_plugin.findings import Finding
from xmoco_plugin.untrusted import printable


def files_of(starts: Mapping[str, str]) -> dict[str, str]:
    """Returns the weights' files: of the folder of a run, what it has handed over.

    Raises:
        CheckpointError: A folder is no run that has ended.
    """
    return {
        name: SCRATCH if name == SCRATCH else backbones.weights_of(file)
        for name, file in starts.items()
    }


def check_alike(starts: Mapping[Start, object]) -> None:
    """Raises ValueError where two starts have the same weights."""
    by_digest: dict[str, Start] = {}
    for start in starts:
        if other := by_digest.get(start.digest):
            raise ValueError(
                f"--starts: {other.name} and {start.name} are the same weights "
                f"({printable(other.checkpoint)}, {printable(start.checkpoint)}): there is nothing "
                "to compare."
            )
        by_digest[start.digest] = start


def run(
    args: argparse.Namespace,
    name: str,
    asked: Mapping[str, str],
    write: Callable[[Path, list[Run], argparse.Namespace, Sequence[str]], str],
    torchvisions: Collection[str] = (),
    prefixes: Mapping[str, str | None] | None = None,
    alike: bool = True,
) -> None:
    """Looks at data and weights, finds a rate for each start where several are given, fine-tunes.

    Args:
        args: The options, with ``rates``.
        name: Of the files with the results, and of the default folder.
        asked: Weights by the names of the starts.
        write: From the runs that are done to their files; returns what is printed.
        torchvisions: Names of those starts that are in torchvision's layout and stay so.
        prefixes: Of the backbone's keys, by the names of the starts, where they are given.
        alike: Whether two starts may have the same weights.

    Raises:
        ValueError: Options, data or weights that no run can start with.
        SystemExit: A run has failed, and has said so.
    """
    args.work_dir = args.work_dir or str(Path("work_dirs", name, Path(args.config).stem))
    root = Path(args.work_dir)
    with console.quiet("--verbose" in args.extra):
        found: list[Finding] = []
        starts = share_runs.read_starts(args, asked, torchvisions, found)
        if not alike:
            check_alike(starts)
        first = next(iter(starts.values()))[0]  # the data are the same for all
        found += seen_before([start.checkpoint for start in starts], first, args.data_root)
        data_table.show(found, root)
        for start, configs in starts.items():
            bring_all(configs, root, (prefixes or {}).get(start.name))
        data = TrainingSet.read(share_runs.training_data(first))
        parts = share_runs.draw_all(args, data)
        for (share, seed), rows in parts.items():
            part = share_runs.part_of(root, share, seed, data)
            share_runs.check_part(part, data.part(rows))
    rates = args.rates or RATES
    factors, said = dict.fromkeys(starts, rates[0]), list[str]()
    if len(rates) > 1:
        print("Finding the learning rate of each start, on training images alone.", flush=True)
        factors, said = learning_rates.find(args, root, starts, data)
        print("\n".join(said), flush=True)
    for start, configs in starts.items():
        for cfg in {id(cfg): cfg for cfg in configs}.values():  # shares of one length have one
            learning_rates.scale(cfg, factors[start])
    try:
        runs = share_runs.plan(args, root, starts, data, parts)
    except ValueError as error:
        if not said:
            raise
        now = ", ".join(f"{start.name} {factor:g}" for start, factor in factors.items())
        raise ValueError(f"{error} Its learning rate may be another (times now: {now}).") from None
    if said:  # else nothing has run before
        print(f"Comparing {len(starts)} starts.", flush=True)
    share_runs.run_all(data, runs, args, lambda: write(root, runs, args, said))
    lost = share_runs.without_result(runs)
    if lost and not any(run.done for run in runs):
        raise ValueError("every run diverged: take smaller rates (--rates) in another --work-dir.")
    text = write(root, runs, args, [*said, *lost])
    if lost:
        print(*lost, file=sys.stderr)
    print(f"\n{text}\n\n{os.fspath(root / name)}.md, .json, .png, .svg", flush=True)


def main(args: argparse.Namespace) -> None:
    """Compares."""
    run(args, NAME, files_of(args.starts), write_comparison, alike=False)
