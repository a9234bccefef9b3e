# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of xmoco compare and few-labels: starts, shares of the labels, and the runs of both."""

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from mmengine.config import Config, ConfigDict

from xmoco_plugin.checkpoint import sha256_of, write_text
from xmoco_plugin.cli import transfer
from xmoco_plugin.cli.exits import STOPS
from xmoco_plugin.cli.share_results import Run, Start
from xmoco_plugin.data.labelled_share import hash_share
from xmoco_plugin.downstream import TrainingSet, leaf_datasets
from xmoco_plugin.findings import Finding
from xmoco_plugin.json_lines import read_json_lines


def read_starts(
    args: argparse.Namespace,
    asked: Mapping[str, str],
    torchvisions: Collection[str] = (),
    found: list[Finding] | None = None,
) -> dict[Start, list[Config]]:
    """Returns the starts and the config of each for every share.

    Args:
        args: The options.
        asked: Checkpoints by name; the word scratch for random weights.
        torchvisions: Names of those that are in torchvision's layout and stay so.
        found: Gets what the data hold.

    Raises:
        ValueError: Options, data or weights that no run can start with.
        FileNotFoundError: A file or folder that is not there.
    """
    iters = args.share_iters or [args.max_iters] * len(args.shares)
    starts: dict[Start, list[Config]] = {}
    for name, checkpoint in asked.items():
        configs: dict[int | None, Config] = {}
        for count in dict.fromkeys(iters):
            options = vars(args) | dict(checkpoint=checkpoint, max_iters=count)
            configs[count] = transfer.resolve(
                argparse.Namespace(**options),
                name in torchvisions,
                None if starts or configs else found,  # the data are the same for all
            )
            if configs[count].train_cfg.get("max_iters") is None:
                raise ValueError(
                    f"{args.config} counts epochs, and an epoch of a smaller share is shorter: "
                    "take a config that counts iterations."
                )
        digest = "-" if checkpoint == "scratch" else sha256_of(configs[count].pretrained)[:8]
        starts[Start(name, checkpoint, digest)] = [configs[count] for count in iters]
    return starts


def training_data(cfg: Config) -> ConfigDict:
    """Returns the config of the one set that is trained on.

    Raises:
        ValueError: There are several.
    """
    leaves = list(leaf_datasets(cfg.train_dataloader.dataset))
    if len(leaves) > 1:
        raise ValueError(f"the config trains on {len(leaves)} sets: a share is taken of one.")
    return leaves[0]


def draw(data: TrainingSet, share: float, seed: int) -> list[int]:
    """Returns the rows of a share: those that come first by a hash of seed and name, at least one.

    The smaller shares of a seed lie within the larger ones.

    Raises:
        ValueError: None of their classes is anywhere on these images.
    """
    rows = hash_share([0] * len(data.names), [f"{seed}/{name}" for name in data.names], share)
    if data.classes and not any(data.counts(rows).values()):
        raise ValueError(
            f"{share:g} % with seed {seed} leaves {_images(len(rows))} of {len(data.names)} and "
            f"nothing of {', '.join(data.classes)} on it: take larger --shares, or other --seeds."
        )
    return rows


def warn_of_absent_classes(
    data: TrainingSet, parts: dict[tuple[float, int], list[int]], seeds: Sequence[int]
) -> None:
    """Says which classes a share has no example of, and with which seeds."""
    for share in dict.fromkeys(share for share, _ in parts):
        absent: dict[str, list[str]] = {}
        for seed in seeds:
            for name, count in data.counts(parts[share, seed]).items():
                if not count:
                    absent.setdefault(name, []).append(str(seed))
        if absent:
            listed = ", ".join(f"{name} (seed {', '.join(s)})" for name, s in absent.items())
            print(
                f"warning: {share:g} %, {_images(len(parts[share, seeds[0]]))}: nothing of "
                f"{listed}. It cannot be learnt there.",
                file=sys.stderr,
            )


def draw_all(args: argparse.Namespace, data: TrainingSet) -> dict[tuple[float, int], list[int]]:
    """Returns the rows of every share and seed, and warns of classes that they lack.

    Raises:
        ValueError: A share has none of the classes.
    """
    seeds = args.seeds[:1] if args.same_images else args.seeds
    parts = {(share, seed): draw(data, share, seed) for seed in seeds for share in args.shares}
    warn_of_absent_classes(data, parts, seeds)
    return parts


def part_of(root: Path, share: float, seed: int, data: TrainingSet) -> Path:
    """Returns the list of a share's images: beside the runs, never in the user's folder."""
    return root / "images" / f"{share:g}pct_seed_{seed}{data.suffix}"


def check_part(part: Path, text: str) -> None:
    """Raises ValueError where a list of images that older runs had is another now."""
    if part.exists() and part.read_text(encoding="utf-8") != text:
        raise ValueError(
            f"{part} lists other images or boxes than the data now give. Choose another "
            "--work-dir, or remove it."
        )


def plan(
    args: argparse.Namespace,
    root: Path,
    starts: dict[Start, list[Config]],
    data: TrainingSet,
    parts: dict[tuple[float, int], list[int]],
) -> list[Run]:
    """Returns all runs, those of a seed together; nothing is written.

    Args:
        args: The options.
        root: Of all runs.
        starts: A config for each share.
        data: That shares are taken of.
        parts: Of :func:`draw_all`.

    Raises:
        ValueError: Older runs, or lists of images, of other settings.
    """
    drawn = {seed: args.seeds[0] if args.same_images else seed for seed in args.seeds}
    runs = []
    for seed in args.seeds:
        for i, share in enumerate(args.shares):
            rows = parts[share, drawn[seed]]
            part = part_of(root, share, drawn[seed], data)
            check_part(part, data.part(rows))
            for start, configs in starts.items():
                cfg = copy.deepcopy(configs[i])
                if len(rows) < len(data.names):
                    training_data(cfg).ann_file = str(part.absolute())
                folder = root / start.folder / f"{share:g}pct" / f"seed_{seed}"
                transfer.config_of_run(cfg, folder, seed, root)
                runs.append(Run(start, share, seed, rows, cfg, folder))
    return runs


def diverged(folder: Path) -> bool:
    """Whether a run's last logged loss, the newest log's, is no number, or infinite."""
    for log in sorted(folder.glob("*/vis_data/scalars.json"), reverse=True):
        losses = [entry["loss"] for entry in read_json_lines(log)[0] if "loss" in entry]
        if losses:
            return not (isinstance(losses[-1], int | float) and math.isfinite(losses[-1]))
    return False


def without_result(runs: Sequence[Run]) -> list[str]:
    """A warning that names the runs which have diverged; nothing where none has."""
    lost = [run for run in runs if not run.done and diverged(run.folder)]
    if not lost:
        return []
    named = "; ".join(f"{run.start.name}, {run.share:g} %, seed {run.seed}" for run in lost)
    return [
        f"warning: {len(lost)} of {len(runs)} runs diverged and are in no figure, which flatters "
        f"their starts: {named}. Smaller rates (--rates) in another --work-dir compare them all."
    ]


def run_all(
    data: TrainingSet, runs: list[Run], args: argparse.Namespace, after: Callable[[], object]
) -> None:
    """Trains and tests what has not been; says which run of how many it is, and the time left.

    A run that diverges is one without a result; it is not tried again.

    Args:
        data: That shares are taken of.
        runs: All of them.
        args: The options.
        after: Called after each run that has a result.

    Raises:
        SystemExit: Training or testing ended with another error, which they have printed.
    """
    root = Path(args.work_dir)
    open_runs = [run for run in runs if not (run.done or diverged(run.folder))]
    print(f"{len(runs)} runs, {len(runs) - len(open_runs)} of them done before.", flush=True)
    begin = time.monotonic()
    for number, run in enumerate(open_runs):
        left = "not known yet"
        if number:
            rate = (time.monotonic() - begin) / number
            left = f"about {rate * (len(open_runs) - number) / 60:.0f} min"
        print(
            f"run {number + 1} of {len(open_runs)}: {run.start.name}, {run.share:g} % "
            f"({_images(len(run.rows))}), seed {run.seed}; time left: {left}",
            flush=True,
        )
        if len(run.rows) < len(data.names):
            part = Path(training_data(run.config).ann_file)
            part.parent.mkdir(parents=True, exist_ok=True)
            write_text(part, data.part(run.rows))
        try:
            transfer.run_seed(run.config, run.folder, run.seed, args.gpus, args.extra, root)
        except SystemExit as error:
            if error.code in STOPS or not diverged(run.folder):
                raise
            at = f"{run.config.optim_wrapper.optimizer.lr:g}"
            print(f"The rate {at} is too large: the run diverged. It has no result.", flush=True)
            continue
        after()


def _images(count: int) -> str:
    return f"{count} image" if count == 1 else f"{count} images"
