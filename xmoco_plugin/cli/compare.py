# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fine-tunes from several starts on the same images, and says which is best: xmoco compare."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

from xmoco_plugin.cli import backbones, console, data_table, few_labels, learning_rates
from xmoco_plugin.cli.compare_results import write_comparison
from xmoco_plugin.cli.options.compare import NAME, SCRATCH
from xmoco_plugin.cli.seen_before import seen_before
from xmoco_plugin.cli.share_results import Start
from xmoco_plugin.cli.starts import bring
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


def main(args: argparse.Namespace) -> None:
    """Finds a rate for each start, fine-tunes, prints."""
    args.work_dir = args.work_dir or str(Path("work_dirs", NAME, Path(args.config).stem))
    root = Path(args.work_dir)
    with console.quiet("--verbose" in args.extra):
        found: list[Finding] = []
        starts = few_labels.read_starts(args, files_of(args.starts), found=found)
        check_alike(starts)
        # Of several files of one run once.
        for file in {Path(s.checkpoint).expanduser().parent: s.checkpoint for s in starts}.values():
            found += seen_before(file, args.data_root)
        data_table.show(found, root)
        for configs in starts.values():
            for cfg in configs:
                bring(cfg, root)
        data = TrainingSet.read(few_labels.training_data(next(iter(starts.values()))[0]))
        parts = few_labels.draw_all(args, data)
        for (share, seed), rows in parts.items():
            few_labels.check_part(few_labels.part_of(root, share, seed, data), data.part(rows))
    factors, said = dict.fromkeys(starts, args.rates[0]), list[str]()
    if len(args.rates) > 1:
        print("Finding the learning rate of each start, on training images alone.", flush=True)
        tried = learning_rates.rate_runs(args, root, starts, data)
        few_labels.run_all(data, tried, args, lambda: None)
        factors, said = learning_rates.best_factors(tried, args.rates, args.task)
        print("\n".join(said), flush=True)
    for start, configs in starts.items():
        for cfg in {id(cfg): cfg for cfg in configs}.values():  # shares of one length have one
            learning_rates.scale(cfg, factors[start])
    try:
        runs = few_labels.plan(args, root, starts, data, parts)
    except ValueError as error:
        now = ", ".join(f"{start.name} {factor:g}" for start, factor in factors.items())
        raise ValueError(f"{error} Its learning rate may be another (times now: {now}).") from None
    print(f"Comparing {len(starts)} starts.", flush=True)
    few_labels.run_all(data, runs, args, lambda: write_comparison(root, runs, args, said))
    text = write_comparison(root, runs, args, said)
    print(f"\n{text}\n\n{os.fspath(root / NAME)}.md, .json, .png, .svg", flush=True)
