# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Finds images that are the same or nearly, in a folder, and between it and a set for judging."""

import argparse
import os
from pathlib import Path

from .parser import whole

NEAR = 6  # bits of 64; docs/lab/own_images.md has what it finds and what it takes for the same
MOST = 16  # from here on, photographs that have nothing to do with one another are alike


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add = parser.add_argument
    add(
        "sources",
        nargs="+",
        metavar="FOLDER",
        help="of images, in any depth; or images, or .txt or .lst files with a path a line; one "
        "or several",
    )
    add(
        "--against",
        metavar="DATA_ROOT",
        help="labelled set whose val and test images must not be among them: COCO format, mmseg's, "
        "VOC's, or val/ and test/; or a folder of images, a .json in COCO format, a .txt list; "
        "default: none",
    )
    add("--out", type=Path, help="FILE.csv of every group and of what --against finds")
    add(
        "--one-per-group",
        type=Path,
        metavar="FILE.txt",
        help="write a list of the images to train on, for xmoco pretrain --data: the first of each "
        "group, and none that is like an image of --against; default: none",
    )
    add(
        "--sheet",
        type=Path,
        metavar="FILE.html",
        help="the first groups as small pictures; default: none",
    )
    add(
        "--near",
        type=whole(0, MOST),
        default=NEAR,
        metavar="BITS",
        help=f"of 64 that may differ, from 0 to {MOST}; default: %(default)s",
    )
    add("--exact", action="store_true", help="equal pixels only; default: nearly the same too")
    add(
        "--workers",
        type=whole(0),
        default=min(8, os.cpu_count() or 1),
        help="loader processes, from 0 (none); default: %(default)s, one a core and 8 at most",
    )
    add(
        "--max-pixels",
        type=whole(1),
        metavar="N",
        help="largest image that is read, height times width, from 1; default: 128,000,000",
    )


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends with what is wrong with a file's name."""
    for name, ending in (("out", ".csv"), ("one_per_group", ".txt"), ("sheet", ".html")):
        path = getattr(args, name)
        if path is not None and path.suffix != ending:
            parser.error(f"--{name.replace('_', '-')} {path}: its name does not end in {ending}")
