# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of xmoco compare: the learning rate of each start, found on training images alone."""

import argparse
import copy
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from xmoco_plugin.checkpoint import write_text
from xmoco_plugin.cli import share_runs, transfer
from xmoco_plugin.cli.share_results import Run, Start, first_metric
from xmoco_plugin.data.labelled_share import hash_share
from xmoco_plugin.downstream import TrainingSet, leaf_datasets

FOLDER = "rates"
HELD_OUT = 20.0  # percent of the images that a rate is judged on
FEWEST = 4  # images held out: by fewer, no rate is told from another (ours)


def rate_runs(
    args: argparse.Namespace, root: Path, starts: Mapping[Start, list[Config]], data: TrainingSet
) -> list[Run]:
    """Returns a run for each start and factor; the lists of their images are written.

    They train on four fifths of the images of the largest share, drawn by the first seed, and are
    judged on the others: never on what the comparison is judged on.

    Raises:
        ValueError: The images are too few to be parted, or older runs were of other settings.
    """
    seed, share = args.seeds[0], args.shares[-1]
    rows = share_runs.draw(data, share, seed)
    names = [f"rate/{seed}/{data.names[row]}" for row in rows]
    held = {rows[i] for i in hash_share([0] * len(rows), names, HELD_OUT)}
    parts = {"train": [row for row in rows if row not in held], "held_out": sorted(held)}
    for name, part in parts.items():
        if len(held) < FEWEST or (data.classes and not any(data.counts(part).values())):
            raise ValueError(
                f"{share:g} % are {len(rows)} images, of which {len(held)} would be held out to "
                f"find a learning rate by: too few, or nothing of {', '.join(data.classes)} is on "
                f"{'them' if name == 'held_out' else 'the others'}. Take a larger share, or the "
                "config's rate for all: --rates 1."
            )
    # The share is in the names: another one is another trial.
    place = root / FOLDER / f"{share:g}pct"
    files = {name: (place / f"{name}_seed_{seed}{data.suffix}").absolute() for name in parts}
    for name, file in files.items():
        share_runs.check_part(file, data.part(parts[name]))
    for name, file in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, data.part(parts[name]))
    runs = []
    for start, configs in starts.items():
        for factor in args.rates:
            cfg = copy.deepcopy(configs[-1])
            share_runs.training_data(cfg).ann_file = str(files["train"])
            _judge_on(cfg, files["held_out"])
            scale(cfg, factor)
            folder = place / start.folder / f"x{factor:g}" / f"seed_{seed}"
            transfer.config_of_run(cfg, folder, seed, root)
            runs.append(Run(start, share, seed, parts["train"], cfg, folder))
    return runs


def _judge_on(cfg: Config, listed: Path) -> None:
    """Lets a config validate and test on images of the training set."""
    trained = share_runs.training_data(cfg)
    for stage in ("val", "test"):
        if cfg.get(f"{stage}_dataloader") is None:  # --cfg-options val_dataloader=None
            continue
        for data in leaf_datasets(cfg[f"{stage}_dataloader"].dataset):
            data.ann_file = str(listed)
            data.data_root = trained.get("data_root")
            data.data_prefix = copy.deepcopy(trained.data_prefix)
            for key in ("img_suffix", "seg_map_suffix", "reduce_zero_label"):
                data.pop(key, None)
                if key in trained:
                    data[key] = trained[key]
        evaluators = cfg[f"{stage}_evaluator"]
        for part in evaluators if isinstance(evaluators, list) else [evaluators]:
            if part.get("ann_file"):
                part.ann_file = str(listed)


def scale(cfg: Config, factor: float) -> None:
    """Multiplies a config's learning rate; by 1, its text stays as it was."""
    if factor != 1:
        cfg.optim_wrapper.optimizer.lr *= factor


def best_factors(
    runs: Sequence[Run], factors: Sequence[float], task: str
) -> tuple[dict[Start, float], list[str]]:
    """Returns each start's best factor, and what is to be said of them.

    Of equal ones the factor nearest to 1 is taken, and 1 where no run has a result (`doubts`).

    Args:
        runs: Of :func:`rate_runs`, all done.
        factors: As they were tried.
        task: 'det' or 'seg'.
    """
    by_run = first_metric(runs, task)
    by_start: dict[Start, dict[float, float]] = {}
    for i, run in enumerate(runs):  # start by start, in the order of the factors
        value = by_run.get(run.folder, math.nan)  # nan: no result, as doubts has it
        by_start.setdefault(run.start, {})[factors[i % len(factors)]] = value
    best, said = {}, []
    for start, values in by_start.items():
        found = {factor: value for factor, value in values.items() if math.isfinite(value)}
        if not found:
            best[start] = 1.0
            said.append(
                f"warning: {start.name}: no rate of {_listed(factors)} times the config's taught "
                "it anything: the config's is taken. Train longer (--max-iters), or try others "
                "(--rates)."
            )
            continue
        best[start] = min(found, key=lambda factor: (-found[factor], abs(math.log(factor))))
        told = ", ".join(
            f"{factor:g}: " + (f"{value:.1f}" if factor in found else "no result")
            for factor, value in values.items()
        )
        said.append(f"{start.name}: {best[start]:g} times the config's rate ({told})")
        if best[start] in (factors[0], factors[-1]):
            end = "smallest" if best[start] == factors[0] else "largest"
            said.append(
                f"warning: {start.name}: the {end} rate tried is the best. Try others beyond it: "
                "--rates."
            )
    return best, said


def _listed(factors: Sequence[float]) -> str:
    return ", ".join(f"{factor:g}" for factor in factors)
