# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes what runs have learnt, and what comparisons of starts say, into one HTML file."""

import argparse

from .parser import whole


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        "work_dirs",
        nargs="+",
        metavar="WORK_DIR",
        help="of a training, of compare or of few-labels",
    )
    parser.add_argument("--out", help="file to write; default: report.html in the first work dir")
    parser.add_argument(
        "--data-root", help="where the data are now; default: where the config says"
    )
    parser.add_argument(
        "--images",
        type=whole(1),
        default=2000,
        help="among which neighbours are looked for, from 1; default: %(default)s",
    )
    parser.add_argument(
        "--base",
        help="config to show the differences from: a file, or mmpretrain::FOLDER/FILE.py; default: "
        "mmpretrain's that the run's config inherits",
    )
