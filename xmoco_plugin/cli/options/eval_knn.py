# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Judges a checkpoint's backbone by weighted kNN, with the loop that the config trains with."""

import argparse

from .parser import whole
from .shared import FIGURES, add_common_arguments, add_prefix, results_file, temperature

SUBFOLDER = "eval_knn"  # of the training's work dir


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("config", help="config file with a KNNValLoop or KNNTestLoop")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument(
        "--k",
        type=whole(1),
        nargs="+",
        help="neighbours, from 1; several cost hardly more than one; default: the config's",
    )
    parser.add_argument(
        "--temperature",
        type=temperature,
        nargs="+",
        help='of the weights exp(cosine / temperature), above 0, or "none": every neighbour has '
        "one vote; default: the config's",
    )
    add_prefix(parser)
    parser.add_argument(
        "--out",
        type=results_file(*FIGURES),
        help="file for the results (.json, .yaml or .pkl); default: print them",
    )
    add_common_arguments(parser, SUBFOLDER)
