# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes what a run, or several side by side, has learnt into one HTML file: docs/report.md."""

import argparse
from pathlib import Path

from xmoco_plugin.cli import common, console
from xmoco_plugin.visualization.report import WorkDir, write_report


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work_dirs", nargs="+", metavar="WORK_DIR", help="of a training")
    parser.add_argument("--out", help="file to write; default: report.html in the first work dir")
    parser.add_argument("--data-root", help="where the data are now, if not where the config says")
    parser.add_argument(
        "--images", type=int, default=2000, help="among which neighbours are looked for"
    )
    parser.add_argument(
        "--base",
        help="config to show the differences from: a file, or mmpretrain::FOLDER/FILE.py; default: "
        "mmpretrain's that the run's config inherits",
    )
    return parser.parse_args()


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


def main() -> None:
    """Reports."""
    args = parse_args()
    if args.images < 1:
        raise ValueError(f"--images {args.images}: at least one is needed")
    out = Path(args.out) if args.out else Path(args.work_dirs[0]) / "report.html"
    if args.out and not out.parent.is_dir():
        raise ValueError(f"--out {args.out}: there is no folder {out.parent}")
    names = run_names(args.work_dirs)
    runs = [WorkDir.read(d, name) for d, name in zip(args.work_dirs, names, strict=True)]
    for run in runs:
        if run.config is not None and args.data_root is not None:
            try:
                common.set_data_root(run.config, args.data_root, run.config_name)
            except ValueError as error:  # its datasets read no folder; other runs' may
                run.missing.append(str(error))
    with console.waiting(f"writing {out}"):
        write_report(runs, out, args.images, args.base)
    for run in runs:
        for line in run.missing:
            print(f"{run.name}: missing: {line}")
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB)")
