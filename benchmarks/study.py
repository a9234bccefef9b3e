# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A paired study of the readings of the terms, against the best MoCo, at equal compute.

Stage `choose`: every combination of the factors is trained and judged on training images that are
held out. Stage `final`: the best MoCo cell and the best cells of other readings are trained with
fresh seeds, judged on the test images, once, and compared seed by seed; its factors are those of
the runs that are there. A run has one JSON; what is there is not repeated, and two processes with
one --out share the work. One thread a run.
"""

import argparse
import dataclasses
import hashlib
import itertools
import json
import os
import statistics
import sys
from pathlib import Path

import measure
import study_table
import torch
from study_data import read_sets
from study_run import READINGS, Cell, Length, run

from xmoco_plugin.checkpoint import write_text

LENGTH = tuple(field.name for field in dataclasses.fields(Length))


def cells_of(args: argparse.Namespace) -> list[Cell]:
    """Every combination of the factors, once: MoCo has no terms to weigh or to let grow."""
    cells = []
    for reading, tau, key, both, weight, ramp in itertools.product(
        args.readings, args.temperature, args.key, args.symmetric, args.weight, args.ramp
    ):
        alone = reading == "moco"
        cell = Cell(
            reading, tau, key, both == "yes", 1.0 if alone else weight, 0.0 if alone else ramp
        )
        cells += [] if cell in cells else [cell]
    return cells


def digest_of(*parts: tuple[torch.Tensor, torch.Tensor]) -> str:
    """Of all images and labels: the data may move, what counts is what they are."""
    digest = hashlib.sha256()
    for part in parts:
        for array in part:
            digest.update(array.contiguous().numpy())
    return digest.hexdigest()[:16]


def keep_options(out: Path, now: dict) -> None:
    """Writes what all runs of a study share.

    Raises:
        SystemExit: the folder holds runs that were made with other options, which are named, or
            runs and no word of how they were made.
    """
    kept = out / "options.json"
    if not kept.is_file():
        if any(out.glob("*/*.json")):
            raise SystemExit(f"{out} holds runs, but {kept} is gone: name another --out.")
        out.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps(now, indent=1))
        return
    old = json.loads(kept.read_text())
    unlike = [f"{k} was {old.get(k)}, now {now[k]}" for k in now if old.get(k) != now[k]]
    if unlike:
        raise SystemExit(
            f"{out} holds runs with other options: {'; '.join(unlike)}. Name another --out."
        )


def claim(file: Path) -> bool:
    """Whether this run is ours: it has no result, and no living process works at it."""
    if file.exists():
        return False
    mark = file.with_suffix(".claim")
    for _ in range(2):
        try:
            with open(mark, "x") as text:
                text.write(str(os.getpid()))
            return True
        except FileExistsError:
            if _alive(mark):
                return False
            mark.unlink(missing_ok=True)  # of a process that was ended
    return False


def _alive(mark: Path) -> bool:
    try:
        os.kill(int(mark.read_text()), 0)
    except (ValueError, ProcessLookupError, FileNotFoundError):
        return False
    except PermissionError:  # it lives, and is somebody else's
        return True
    return True


def runs_of(folder: Path) -> list[dict]:
    """Results that are there."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]


def finalists_of(chosen: list[dict], count: int) -> list[Cell]:
    """The best MoCo cell, and the best cells of the `count` best other readings, by their scores.

    Raises:
        SystemExit: no cell of MoCo has a run to choose by, or none of another reading.
    """
    scores: dict[Cell, list[float]] = {}
    for found in chosen:
        cell = Cell(**found["factors"])
        scores.setdefault(cell, []).append(study_table.score(found["chosen_by"]))
    best: dict[str, Cell] = {}
    for cell in sorted(scores, key=lambda c: statistics.mean(scores[c]), reverse=True):
        best.setdefault(cell.reading, cell)
    if "moco" not in best or len(best) < 2:
        raise SystemExit(
            "a final compares MoCo with a reading, and --out has runs to choose by of "
            f"{', '.join(best) or 'none'}: run --stage choose for both first."
        )
    return [best.pop("moco"), *itertools.islice(best.values(), count)]


def work(args: argparse.Namespace) -> None:
    """Runs what is missing; writes table.md and results.json."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    sets = read_sets(args.data, args.held_out, args.images)
    now = {name.replace("_", "-"): getattr(args, name) for name in (*LENGTH, "held_out")}
    now["content of --data"] = digest_of(sets.train, sets.chosen_by, sets.test)
    keep_options(args.out, now)
    final = args.stage == "final"
    cells = cells_of(args)
    chosen = runs_of(args.out / "choose")
    if final:
        used = {run["seed"] for run in chosen} & set(args.seeds)
        if used:
            raise SystemExit(f"--seeds {sorted(used)} chose the cells: a final has fresh seeds.")
        cells = finalists_of(chosen, args.finalists)
    folder = args.out / args.stage
    folder.mkdir(exist_ok=True)
    length = Length(**{name: getattr(args, name) for name in LENGTH})
    facts = measure.environment(device)
    # Seed by seed: what is there when it is stopped can be compared.
    for seed, cell in itertools.product(args.seeds, cells):
        file = folder / f"{cell.name}_{seed}.json"
        if not claim(file):
            continue
        try:
            found = run(cell, length, seed, sets, final, device)
            write_text(file, json.dumps(found | dict(environment=facts), indent=1))
            print(json.dumps(found), flush=True)
        finally:
            file.with_suffix(".claim").unlink()
    text = study_table.tables(runs_of(args.out / "choose"), runs_of(args.out / "final"))
    write_text(args.out / "table.md", text)
    print(text)


def parser() -> argparse.ArgumentParser:
    """The options; those of a length are kept with the runs."""
    found = argparse.ArgumentParser(description=__doc__)
    add = found.add_argument
    add("--data", type=Path, required=True, help="train.npz and test.npz, or mosaics (read_split)")
    add("--out", type=Path, required=True, help="folder of the study")
    add("--stage", choices=("choose", "final"), default="choose")
    add("--readings", nargs="+", choices=READINGS, default=["moco", "terms", "queue-kl"])
    add("--temperature", type=float, nargs="+", default=[0.1])
    add("--key", nargs="+", choices=("strong", "weak"), default=["weak"])
    add("--symmetric", nargs="+", choices=("no", "yes"), default=["no"])
    add("--weight", type=float, nargs="+", default=[1.0], help="times the reading's own weights")
    add("--ramp", type=float, nargs="+", default=[0.0], help="share of the steps, 0 to 1")
    add("--seeds", type=int, nargs="+", default=[0, 1])
    add("--finalists", type=int, default=2, help="readings that a final compares with MoCo")
    add("--held-out", type=int, default=5000, help="training images to choose by")
    for field in dataclasses.fields(Length):
        choices = ("small", "resnet18") if field.name == "net" else None
        add(f"--{field.name}", type=type(field.default), default=field.default, choices=choices)
    return found


def check(args: argparse.Namespace) -> None:
    """Raise SystemExit, naming the option, for what no run can be made of."""
    if "yes" in args.symmetric and args.epochs % 2:
        raise SystemExit(f"--epochs {args.epochs} has no half, which --symmetric yes trains for.")
    if args.batch % 8 or args.batch > args.images:
        raise SystemExit(
            f"--batch {args.batch} must be a multiple of 8, for SplitBN, and at most the "
            f"--images, {args.images}."
        )
    if not all(0 <= ramp <= 1 for ramp in args.ramp):
        raise SystemExit(f"--ramp {args.ramp} is a share of the steps, in [0, 1].")
    for name in ("temperature", "weight"):
        if min(getattr(args, name)) <= 0:
            raise SystemExit(f"--{name} {getattr(args, name)} must be above 0.")


def main() -> None:
    """Runs what is missing."""
    args = parser().parse_args()
    check(args)
    try:
        work(args)
    except KeyboardInterrupt:
        print("Stopped; the same command makes the runs that are missing.", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
