# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Lists the runs in and below work dirs, what came of them, and how their configs differ."""

import argparse

from .parser import one_of

COLUMNS = [
    *("name", "epochs", "start kNN", "best kNN", "best other", "metric", "handed over"),
    *("verdict", "images/s"),
]
FORMATS = ("text", "csv", "html")


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("folders", nargs="+", metavar="DIR", help="work dirs, or folders of them")
    parser.add_argument(
        "--sort",
        metavar="COLUMN",
        default="name",
        help=f"{', '.join(COLUMNS)}, or a setting; default: %(default)s",
    )
    parser.add_argument(
        "--format",
        type=one_of(FORMATS),
        choices=FORMATS,
        default="text",
        help="csv and html show all differences, text the first; default: %(default)s",
    )
    parser.add_argument("--out", help="file to write; default: print")
