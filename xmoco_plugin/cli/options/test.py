# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Runs the test loop of a config on a checkpoint, or its validation loop where it has no other."""

import argparse

from .shared import FIGURES, add_common_arguments, results_file

SUBFOLDER = "test"  # of the training's work dir


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument(
        "--out",
        type=results_file(*FIGURES),
        help="file for the metrics (.json, .yaml or .pkl); default: print them",
    )
    add_common_arguments(parser, SUBFOLDER)
