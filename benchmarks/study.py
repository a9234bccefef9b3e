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
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import measure
import study_table
import study_teacher
import torch
from study_data import Sets, read_sets
from study_files import claim, keep_options, make_missing, runs_of
from study_nets import NETS
from study_run import ALONE, READINGS, Cell, Length, run, scores

from xmoco_plugin.checkpoint import write_text

LENGTH = tuple(field.name for field in dataclasses.fields(Length))


def cells_of(args: argparse.Namespace) -> list[Cell]:
    """Every combination of the factors, once: a reading has only those that change its runs."""
    cells = []
    for reading, tau, key, both, weight, ramp, share, keys in itertools.product(
        args.readings,
        args.temperature,
        args.key,
        args.symmetric,
        args.weight,
        args.ramp,
        args.share,
        args.keys,
    ):
        cell = Cell(reading, tau, key, both == "yes")
        if reading not in ALONE:
            cell = dataclasses.replace(cell, weight=weight, ramp=ramp)
        if cell.taught:
            cell = dataclasses.replace(cell, share=share, keys=keys)
        if cell.taught and reading != study_teacher.BESIDE_MOCO:
            cell = dataclasses.replace(cell, key="none", symmetric=False)
        cells += [] if cell in cells else [cell]
    return cells


def digest_of(*parts: tuple[torch.Tensor, torch.Tensor]) -> str:
    """Of all images and labels: the data may move, what counts is what they are."""
    digest = hashlib.sha256()
    for part in parts:
        for array in part:
            digest.update(array.contiguous().numpy())
    return digest.hexdigest()[:16]


def finalists_of(chosen: list[dict], count: int) -> list[Cell]:
    """The best MoCo cell, and the best cells of the `count` best other readings, by their scores.

    The untrained network is no reading: it takes nobody's place.

    Raises:
        SystemExit: no cell of MoCo has a run to choose by, or none of another reading.
    """
    scores: dict[Cell, list[float]] = {}
    for found in chosen:
        cell = Cell(**found["factors"])
        if cell.reading == "untrained":
            continue
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


def teaching_of(
    args: argparse.Namespace, sets: Sets, device: str
) -> tuple[study_teacher.Teacher, study_teacher.Teaching]:
    """The teacher, and its keys, which one process makes once."""
    teacher = study_teacher.Teacher(
        args.teacher, args.teacher_model, args.teacher_size, sets.train[0], device
    )
    file = args.out / study_teacher.FACTS
    while not file.is_file():
        if not claim(file):
            time.sleep(1)
            continue
        try:
            teacher.ask_all(args.out)
        finally:
            file.with_suffix(".claim").unlink()
    return teacher, teacher.taught(args.out)


def judge_teacher(args: argparse.Namespace, teacher: study_teacher.Teacher, sets: Sets) -> None:
    """Adds what the teacher itself scores on some test images to what is known of it."""
    file = args.out / study_teacher.FACTS
    facts = json.loads(file.read_text())
    if "test" not in facts:
        images, labels = sets.test
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
        rows = order[: study_teacher.JUDGED]
        known, asked = teacher.stored_features(args.out), teacher.features(images[rows])
        found = scores(known, sets.train[1], asked, labels[rows])
        facts["test"] = dict(found, images=len(rows))
        write_text(file, json.dumps(facts, indent=1))


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
        if not args.as_given:
            cells = finalists_of(chosen, args.finalists)
    teacher, teaching = None, None
    if taught := [cell.reading for cell in cells if cell.taught]:
        if args.teacher is None:
            raise SystemExit(f"{taught[0]} needs --teacher FILE, the network to learn from.")
        teacher, teaching = teaching_of(args, sets, device)
    folder = args.out / args.stage
    folder.mkdir(exist_ok=True)
    length = Length(**{name: getattr(args, name) for name in LENGTH})
    facts = measure.environment(device)
    # Seed by seed: what is there when it is stopped can be compared.
    for seed, cell in itertools.product(args.seeds, cells):
        make = partial(run, cell, length, seed, sets, final, device, teaching)
        make_missing(folder / f"{cell.name}_{seed}.json", make, facts)
    if final and teacher is not None:
        judge_teacher(args, teacher, sets)
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
    readings = (*READINGS, *study_teacher.READINGS)
    add("--readings", nargs="+", choices=readings, default=["moco", "terms", "queue-kl"])
    add("--temperature", type=float, nargs="+", default=[0.1])
    add("--key", nargs="+", choices=("strong", "weak"), default=["weak"])
    add("--symmetric", nargs="+", choices=("no", "yes"), default=["no"])
    add("--weight", type=float, nargs="+", default=[1.0], help="times the reading's own weights")
    add("--ramp", type=float, nargs="+", default=[0.0], help="share of the steps, 0 to 1")
    add("--share", type=float, nargs="+", default=[1.0], help="of the epochs, with a teacher")
    add("--keys", type=int, nargs="+", default=[0], help="of the teacher, a step; 0: --queue")
    add("--teacher", help="weights of a frozen network, for the readings that learn from one")
    add("--teacher-model", help="which network is in the file, where that does not say")
    add("--teacher-size", type=int, default=96, help="side of the images that it sees, px")
    add("--as-given", action="store_true", help="final: the factors' cells, fixed beforehand")
    add("--seeds", type=int, nargs="+", default=[0, 1])
    add("--finalists", type=int, default=2, help="readings that a final compares with MoCo")
    add("--held-out", type=int, default=5000, help="training images to choose by")
    for field in dataclasses.fields(Length):
        choices = tuple(NETS) if field.name == "net" else None
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
    if not all(0 < share <= 1 and round(args.epochs * share) for share in args.share):
        raise SystemExit(
            f"--share {args.share} of --epochs {args.epochs} must be 1 to all of them."
        )
    if args.as_given and args.stage != "final":
        raise SystemExit("--as-given is of --stage final: to choose is to try all factors' cells.")
    if min(args.keys) < 0:
        raise SystemExit(f"--keys {args.keys} must be 0 or more.")
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
