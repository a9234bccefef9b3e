# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes what runs have learnt, and what comparisons of starts say, into one HTML file."""

import argparse
from collections.abc import Mapping
from pathlib import Path

from mmengine.config import Config, ConfigDict

from xmoco_plugin.cli import common, console
from xmoco_plugin.untrusted import printable
from xmoco_plugin.visualization.report import Comparison, WorkDir, is_comparison, write_report
from xmoco_plugin.visualization.report.buildable import check_buildable


def run_names(folders: list[str]) -> list[str]:
    """Names that tell the folders apart: the last part of each path, or as many as it takes.

    Raises:
        ValueError: A folder is named twice.
    """
    paths = [Path(folder).expanduser().resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise ValueError(f"a work dir is named twice: {', '.join(folders)}")
    for parts in range(1, max(len(path.parts) for path in paths) + 1):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names


def checked_loaders(cfg: Config) -> list[ConfigDict]:
    """The dataloaders that check_buildable has looked at: no test's, which no report reads."""
    val_cfg = cfg.get("val_cfg")
    bank = val_cfg.get("bank_dataloader") if isinstance(val_cfg, Mapping) else None
    found = (cfg.train_dataloader, cfg.get("val_dataloader"), bank)
    return [loader for loader in found if isinstance(loader, Mapping) and "dataset" in loader]


def main(args: argparse.Namespace) -> None:
    """Reports."""
    out = Path(args.out) if args.out else Path(args.work_dirs[0]) / "report.html"
    if args.out and not out.parent.is_dir():
        raise ValueError(f"--out {args.out}: there is no folder {out.parent}")
    names = run_names(args.work_dirs)
    named = dict(zip(args.work_dirs, names, strict=True))
    compared = [d for d in args.work_dirs if is_comparison(d)]
    comparisons = [Comparison.read(d, named[d]) for d in compared]
    runs = [WorkDir.read(d, named[d]) for d in args.work_dirs if d not in compared]
    for run in runs:
        if run.config is not None and args.data_root is not None:
            try:
                check_buildable(run.config)  # before its types are looked up
                loaders = checked_loaders(run.config)
                common.set_data_root(run.config, args.data_root, run.config_name, loaders)
            except ValueError as error:  # its datasets read no folder; other runs' may
                run.missing.append(str(error))
    with console.waiting(f"writing {out}"):
        write_report(runs, out, args.images, args.base, comparisons=comparisons)
    for run in runs:
        for line in run.missing:
            print(f"{run.name}: missing: {printable(line)}")
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
