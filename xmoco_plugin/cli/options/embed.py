# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes features and file names of every image below a folder, as npz, csv or parquet."""

import argparse
import importlib
from pathlib import Path

from .parser import whole
from .shared import add_cfg_options, add_image_size, add_loading, add_model_config, add_prefix

ENDINGS = (".npz", ".csv", ".parquet")


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("checkpoint", help="checkpoint file of a pretraining")
    parser.add_argument("folder", help="of images, in any depth")
    parser.add_argument("--out", type=Path, required=True, help="FILE.npz, .csv or .parquet")
    add_model_config(parser)
    add_prefix(parser)
    add_image_size(parser)
    parser.add_argument(
        "--tiles",
        type=whole(64),
        metavar="PIXELS",
        help="a row for each tile of such a side, from 64; default: one for each image",
    )
    parser.add_argument(
        "--plain-names",
        action="store_true",
        help="csv: no ' before a name that a spreadsheet would take for a formula; default: one",
    )
    parser.add_argument(
        "--normalize", action="store_true", help="scale every feature to norm 1; default: not"
    )
    add_loading(parser)
    add_cfg_options(parser)


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends with what is wrong between the options."""
    if args.out.suffix not in ENDINGS:
        parser.error(f"--out {args.out}: its name ends in none of {', '.join(ENDINGS)}")
    if args.out.suffix == ".parquet":
        try:  # now, not after an hour of extraction
            importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            parser.error(f"--out {args.out} needs pyarrow: pip install pyarrow ({error})")
