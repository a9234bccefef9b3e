# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of xmoco compare: the learning rate of each start, found on training images alone."""

import argparse
import copy
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from xmoco_plugin.checkpoint import write_text
from xmoco_plugin.cli import share_runs, transfer
from xmoco_plugin.cli.options import compare
from xmoco_plugin.cli.share_results import Run, Start, first_metric
from xmoco_plugin.data.labelled_share import hash_share
from xmoco_plugin.downstream import TrainingSet, leaf_datasets

FOLDER = "rates"
HELD_OUT = 20.0  # percent of the images that a rate is judged on
FEWEST = 4  # images held out: by fewer, no rate is told from another (ours)
NEAR = 0.9  # of the best figure: one run does not tell such rates apart (ours)
SEEDS = 3  # by which these are tried
BEYOND = 2  # rates that are tried beyond the given ones, where the last is the best (ours)

Results = dict[float, dict[int, float]]  # a start's figures, by factor and seed


class Trial(NamedTuple):
    """A fine-tuning at a learning rate of so many times the config's."""

    factor: float
    run: Run


def find(
    args: argparse.Namespace, root: Path, starts: Mapping[Start, list[Config]], data: TrainingSet
) -> tuple[dict[Start, float], list[str]]:
    """Returns each start's best factor, and what is to be said of them; trains for it.

    Each rate is tried by the first seed. Where the smallest or the largest of the default ones is
    the best, up to two beyond it are tried. Where several come near the best, one run tells them
    apart by chance: they are tried by up to two more seeds, and their means decide.

    Raises:
        ValueError: The images are too few to be parted, or older runs were of other settings.
        SystemExit: A run has failed, and has said so.
    """
    wanted = {start: list(args.rates or compare.RATES) for start in starts}
    trials = rate_runs(args, root, starts, data, args.seeds[0], wanted)
    share_runs.run_all(data, [trial.run for trial in trials], args, lambda: None)
    for _ in range(0 if args.rates else BEYOND):  # given ones are taken as they are
        wanted = {start: beyond(values) for start, values in results(trials, args.task).items()}
        further = rate_runs(args, root, starts, data, args.seeds[0], wanted)
        if not further:
            break
        print("The best rate is the last that was tried: one beyond it is tried.", flush=True)
        share_runs.run_all(data, [trial.run for trial in further], args, lambda: None)
        trials += further
    near = {start: close(values) for start, values in results(trials, args.task).items()}
    more = []
    for seed in args.seeds[1:SEEDS] if any(near.values()) else ():
        try:
            more += rate_runs(args, root, starts, data, seed, near)
        except ValueError as error:  # what the first seed has found is not lost for it
            print(f"Rates are not tried by seed {seed}: {error}", flush=True)
    if more:
        print("Rates that are near each other: tried by more seeds.", flush=True)
        share_runs.run_all(data, [trial.run for trial in more], args, lambda: None)
    return best_factors(results([*trials, *more], args.task))


def rate_runs(
    args: argparse.Namespace,
    root: Path,
    starts: Mapping[Start, list[Config]],
    data: TrainingSet,
    seed: int,
    wanted: Mapping[Start, Sequence[float]],
) -> list[Trial]:
    """Returns a run for each start and factor; the lists of their images are written.

    They train on four fifths of the images of the largest share, drawn by the seed, and are
    judged on the others: never on what the comparison is judged on.

    Args:
        args: The options.
        root: Of the comparison.
        starts: With their configs.
        data: To train on.
        seed: Of the images and the training.
        wanted: Factors of each start; nothing is drawn where there are none.

    Raises:
        ValueError: The images are too few to be parted, or older runs were of other settings.
    """
    if not any(wanted.values()):
        return []
    share = args.shares[-1]
    rows = share_runs.draw(data, share, args.seeds[0] if args.same_images else seed)
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
    trials = []
    for start, configs in starts.items():
        for factor in wanted[start]:
            cfg = copy.deepcopy(configs[-1])
            share_runs.training_data(cfg).ann_file = str(files["train"])
            _judge_on(cfg, files["held_out"])
            scale(cfg, factor)
            folder = place / start.folder / f"x{factor:g}" / f"seed_{seed}"
            transfer.config_of_run(cfg, folder, seed, root)
            trials.append(Trial(factor, Run(start, share, seed, parts["train"], cfg, folder)))
    return trials


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


def results(trials: Sequence[Trial], task: str) -> dict[Start, Results]:
    """Each start's figures by factor and seed; NaN of a run without a result (`doubts`)."""
    done = [trial.run for trial in trials if trial.run.done]  # others have diverged
    by_run = first_metric(done, task) if done else {}
    found: dict[Start, Results] = {}
    for factor, run in trials:
        by_factor = found.setdefault(run.start, {}).setdefault(factor, {})
        by_factor[run.seed] = by_run.get(run.folder, math.nan)
    return found


def _of_first_seed(values: Results) -> dict[float, float]:
    return {factor: next(iter(by_seed.values())) for factor, by_seed in values.items()}


def beyond(values: Results) -> list[float]:
    """If the best factor is at an end, the next one beyond it, in the step of the last two."""
    first = _of_first_seed(values)
    known = [factor for factor, value in first.items() if math.isfinite(value)]
    if not known or len(first) < 2:
        return []
    best = max(known, key=lambda factor: (first[factor], -abs(math.log(factor))))
    tried = sorted(first)
    for end, inner in ((tried[0], tried[1]), (tried[-1], tried[-2])):
        if best == end:
            return [float(f"{end * end / inner:.3g}")]
    return []


def close(values: Results) -> list[float]:
    """The factors whose first figure is near the best one's, if there are several."""
    first = _of_first_seed(values)
    best = max((value for value in first.values() if math.isfinite(value)), default=math.nan)
    near = [factor for factor, value in first.items() if value >= NEAR * best]
    return near if len(near) > 1 and best > 0 else []


def best_factors(found: Mapping[Start, Results]) -> tuple[dict[Start, float], list[str]]:
    """Returns each start's best factor, and what is to be said of them.

    Of those with most seeds the best mean is taken; of equal ones the factor nearest to 1, and 1
    where no run has a result.

    Args:
        found: Of :func:`results`.
    """
    best, said = {}, []
    for start, values in found.items():
        means = {f: statistics.mean(by_seed.values()) for f, by_seed in values.items()}
        most = max(len(by_seed) for by_seed in values.values())
        known = [f for f in values if len(values[f]) == most and math.isfinite(means[f])]
        known = known or [f for f in values if math.isfinite(means[f])]
        if not known:
            best[start] = 1.0
            said.append(
                f"warning: {start.name}: no rate of {_listed(sorted(values))} times the config's "
                "taught it anything: the config's is taken. Train longer (--max-iters), or try "
                "others (--rates)."
            )
            continue
        best[start] = min(known, key=lambda factor: (-means[factor], abs(math.log(factor))))
        told = ", ".join(_told(f, means[f], len(values[f])) for f in sorted(values))
        said.append(f"{start.name}: {best[start]:g} times the config's rate ({told})")
        if best[start] in (min(values), max(values)):
            end = "smallest" if best[start] == min(values) else "largest"
            said.append(
                f"warning: {start.name}: the {end} rate tried is the best. Try others beyond it: "
                "--rates."
            )
    for start, factor in best.items():
        for other in sorted(set(best.values()) - {factor}):
            if other in found[start] and _as_good(found[start][factor], found[start][other]):
                said.append(
                    f"warning: {start.name}: {other:g} times is not told apart from {factor:g}. A "
                    f"difference from a start at {other:g} times may be of the rate. To compare "
                    f"all at one: --rates {other:g} in another --work-dir."
                )
    return best, said


def _told(factor: float, mean: float, seeds: int) -> str:
    value = f"{mean:.1f}" if math.isfinite(mean) else "no result"
    return f"{factor:g}: {value}" + (f" in {seeds} seeds" if seeds > 1 else "")


def _as_good(chosen: Mapping[int, float], other: Mapping[int, float]) -> bool:
    """Whether another rate's figures of the same seeds are not below by two standard errors."""
    less = [chosen[seed] - other[seed] for seed in chosen if seed in other]
    if not all(map(math.isfinite, less)):
        return False
    if len(less) < 2:
        first = next(iter(chosen.values()))
        return next(iter(other.values())) >= NEAR * first
    return statistics.mean(less) <= 2 * statistics.stdev(less) / math.sqrt(len(less))


def _listed(factors: Sequence[float]) -> str:
    return ", ".join(f"{factor:g}" for factor in factors)
