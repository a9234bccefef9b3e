# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A study of continuing from good weights: which reading, rate and set.

Every run has the settings that `xmoco pretrain --init` chooses, but for the factors, and is looked
at at its start and on the way: kNN, ridge, and figures without labels. The table
compares with the start and, seed by seed, with MoCo at the same rate, and says how each figure
without labels goes with kNN. A run has one JSON; what is there is not repeated, and two processes
with one --out share the work. One thread a run. docs/lab/starts.md says how to make the sets.
"""

import argparse
import dataclasses
import itertools
import sys
from functools import partial
from pathlib import Path

import measure
import starts_table
import torch
from mmengine.registry import init_default_scope
from starts_run import READINGS, TRAINED, Cell, Length, read_set, run
from study import digest_of, keep_options, make_missing, runs_of

from xmoco_plugin.checkpoint import sha256_of, write_text

LENGTH = tuple(field.name for field in dataclasses.fields(Length))


def cells_of(words: list[str]) -> list[Cell]:
    """Cells from READING:RATE[:TRAINED].

    Raises:
        SystemExit: There is no such reading, or the rate is none.
    """
    cells = []
    for word in words:
        reading, _, rest = word.partition(":")
        rate, _, trained = rest.partition(":")
        try:
            cell = Cell(reading, float(rate), trained or "all")
        except ValueError:
            cell = Cell(lr=0.0)
        if reading not in READINGS or not 0 < cell.lr < 1 or cell.trained not in TRAINED:
            raise SystemExit(
                f"--cells {word}: READING:RATE[:TRAINED]. There are {', '.join(READINGS)}; a rate "
                f"is in (0, 1); trained are {', '.join(TRAINED)}."
            )
        cells += [] if cell in cells else [cell]
    return cells


def work(args: argparse.Namespace) -> None:
    """Runs what is missing; writes table.md."""
    torch.set_num_threads(1)
    init_default_scope("mmpretrain")
    cells = cells_of(args.cells)
    length = Length(**{name: getattr(args, name) for name in LENGTH})
    folders = [args.data / name for name in args.sets]
    now = {name: getattr(args, name) for name in LENGTH}
    now["content of --init"] = sha256_of(args.init)[:16]
    keep_options(args.out, now)
    for folder in folders:  # a set of its own, so that one may be added later
        (args.out / folder.name).mkdir(exist_ok=True)
        kept = args.out / folder.name / "set"
        keep_options(kept, {f"content of {folder.name}": digest_of(*read_set(folder))})
    facts = measure.environment()
    # Seed by seed: what is there when it is stopped can be compared.
    for seed, folder, cell in itertools.product(args.seeds, folders, cells):
        make = partial(run, cell, length, seed, folder, args.init)
        make_missing(args.out / folder.name / f"{cell.name}_{seed}.json", make, facts)
    runs = [found for folder in folders for found in runs_of(args.out / folder.name)]
    text = starts_table.tables(runs)
    write_text(args.out / "table.md", text)
    print(text)


def parser() -> argparse.ArgumentParser:
    """The options; those of a length are kept with the runs."""
    found = argparse.ArgumentParser(description=__doc__)
    add = found.add_argument
    add("--data", type=Path, required=True, help="holds a folder of train.npz and test.npz a set")
    add("--init", type=Path, required=True, help="good weights, in any layout that is read")
    add("--out", type=Path, required=True, help="folder of the study")
    add("--sets", nargs="+", default=["satellite", "things", "flowers", "cells"])
    add(
        *("--cells", "-c"),
        nargs="+",
        metavar="READING:RATE[:TRAINED]",
        default=["moco:3e-4", "moco:1e-4", "terms:3e-4"],
        help=f"of {', '.join(READINGS)}; {', '.join(TRAINED)}",
    )
    add("--seeds", type=int, nargs="+", default=[0, 1, 2])
    for field in dataclasses.fields(Length):
        add(f"--{field.name}", type=type(field.default), default=field.default)
    return found


def main() -> None:
    """Runs what is missing."""
    args = parser().parse_args()
    if not args.init.is_file():
        raise SystemExit(f"--init {args.init}: there is no such file")
    for name, least in (("size", 32), ("shown", 8), ("bank", 8), ("queries", 8), ("looks", 1)):
        if getattr(args, name) < least:
            raise SystemExit(f"--{name} {getattr(args, name)} must be at least {least}")
    try:
        work(args)
    except KeyboardInterrupt:
        print("Stopped; the same command makes the runs that are missing.", file=sys.stderr)
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
