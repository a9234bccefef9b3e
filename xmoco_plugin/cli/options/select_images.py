# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Picks which images of a folder to label next, by the features of a backbone."""

import argparse
import importlib
from pathlib import Path

from .parser import one_of, whole
from .shared import add_cfg_options, add_image_size, add_loading, add_model_config, add_prefix

ENDINGS = (".csv", ".txt")
METHODS = ("typical", "k-centre")
MOST_SEED = 2**32 - 1  # that scikit-learn takes


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add = parser.add_argument
    add("checkpoint", metavar="RUN", help="folder of a run of xmoco pretrain, or a weights file")
    add("folder", help="of images, in any depth")
    add("-n", "--number", type=whole(1), required=True, help="images to pick, from 1")
    add(
        "--out",
        type=Path,
        required=True,
        help="FILE.csv: rank, file in the folder, and why; FILE.txt: a path a line",
    )
    add(
        "--labelled",
        nargs="+",
        default=[],
        metavar="FOLDER|IMAGE|LIST",
        help="images that have labels: folders, images, or .txt and .lst files with a path a line; "
        "they are not picked, and what is like them is not wanted; default: none",
    )
    add(
        "--method",
        type=one_of(METHODS),
        choices=METHODS,
        default=METHODS[0],
        help="typical: the densest place of each of n clusters; k-centre: each time the image that "
        "is farthest from all labelled and picked ones; default: %(default)s",
    )
    add(
        "--seed",
        type=whole(0, MOST_SEED),
        default=0,
        help=f"of the clusters, from 0 to {MOST_SEED:,}; default: %(default)s",
    )
    add_model_config(parser)
    add_prefix(parser)
    add_image_size(parser)
    add_loading(parser)
    add_cfg_options(parser)


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends with what is wrong between the options."""
    if args.out.suffix not in ENDINGS:
        parser.error(f"--out {args.out}: its name ends in none of {', '.join(ENDINGS)}")
    if args.method == "typical":
        try:  # now, not after an hour of extraction
            importlib.import_module("sklearn.cluster")
        except ImportError as error:
            parser.error(
                f"--method typical needs scikit-learn: pip install scikit-learn ({error}); "
                "--method k-centre does not"
            )
