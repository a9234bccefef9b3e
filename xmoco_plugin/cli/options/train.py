# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Trains the model of a config: mmpretrain's options, and --data-root."""

import argparse

from .parser import number, whole
from .shared import FIGURES, YEAR, add_common_arguments, add_on_nan, results_file


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="auto|CHECKPOINT",
        help="go on from this checkpoint, or from the newest in the work dir; default: begin anew",
    )
    parser.add_argument(
        "--config-as-data",
        action="store_true",
        help="of a run of pretrain: read its FOLDER/config.py and run nothing in it, and train in "
        "FOLDER, wherever it lies now; default: the config is run, as any program",
    )
    parser.add_argument(
        "--no-validate", action="store_true", help="train without the validation loop"
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by actual / original batch size",
    )
    parser.add_argument(
        "--global-batch",
        type=whole(1),
        metavar="N",
        help="images a step of all processes together, so that any number of processes trains the "
        "same (see Machines that come and go); default: batch_size of the config for each process",
    )
    parser.add_argument(
        "--no-persistent-workers",
        action="store_true",
        help="start the dataloaders' workers anew every epoch",
    )
    add_on_nan(parser)
    parser.add_argument(
        "--replay",
        metavar="FILE",
        help="train nothing, and run the step again that a stopped training has kept "
        "(nonfinite_N.npz), with its last good checkpoint beside it or that of --resume; default: "
        "train",
    )
    parser.add_argument(
        "--checkpoint-minutes",
        type=number(0, YEAR),
        metavar="N",
        help="write a checkpoint when the last one is so old, in the middle of an epoch too; 0: "
        "only at epochs' ends and on SIGTERM and SIGUSR1; default: 30",
    )
    parser.add_argument(
        "--test-out",
        metavar="FILE",
        type=results_file(*FIGURES),
        help="then test the last checkpoint, in TRAINING/test, and write the metrics (.json, .yaml "
        "or .pkl); default: no test",
    )
    add_common_arguments(parser)
