# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fine-tunes a checkpoint in mmdet or mmseg, tests it, and prints its row of a table.

Further options that train and test have in common (--amp, --no-pin-memory) are handed to both.
"""

import argparse

from .parser import describe_unknown, one_of, option_names, whole
from .shared import add_cfg_options, add_common_arguments, add_prefix

TASKS = ("det", "seg")
# What a dataset's settings are named by options for, in each stage.
STAGES = ("train", "val")
KINDS = ("images", "annotations")
KNOWN_ONLY = True  # other words are handed on
# Of train's and test's common options those that are set here, run by run.
OURS = ("--work-dir", "--data-root", "--cfg-options", "--launcher", "--local-rank", "--local_rank")


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add_fine_tuning(parser, "work_dirs/transfer/CONFIG/HASH, with a folder a seed")


def add_fine_tuning(parser: argparse.ArgumentParser, work_dir: str) -> None:
    """Adds the options of a fine-tuning; `work_dir` is the default that the help names."""
    parser.add_argument("checkpoint", help="pretraining checkpoint, or the word scratch")
    add_runs(parser, work_dir)
    add_prefix(parser)


def add_runs(parser: argparse.ArgumentParser, work_dir: str, usual_seeds: str = "0") -> None:
    """Adds the options of fine-tunings, whatever they start from.

    Args:
        parser: Gets them.
        work_dir: The default that the help names.
        usual_seeds: The default.
    """
    parser.add_argument("task", type=one_of(TASKS), choices=TASKS, help="detection or segmentation")
    parser.add_argument("config", help="config of configs/detection or configs/segmentation")
    parser.add_argument(
        "--seeds",
        default=usual_seeds,
        type=seeds,
        help="0, or 0,1,2, or 0..4; default: %(default)s",
    )
    parser.add_argument(
        "--gpus",
        type=whole(1),
        default=1,
        help="processes on this machine, from 1; default: %(default)s",
    )
    parser.add_argument("--work-dir", help=f"default: {work_dir}")
    parser.add_argument("--data-root", help="folder of the data; default: the config's")
    for stage in STAGES:
        for kind in KINDS:
            parser.add_argument(
                f"--{stage}-{kind}",
                help="below --data-root, or absolute; default: the config's",
            )
    parser.add_argument(
        "--max-iters",
        type=whole(1),
        help="train so long, from 1, with the schedule stretched to fit; default: the config's",
    )
    add_cfg_options(parser)


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends with what train and test would not know either of the words that are handed on."""
    handed_on = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_common_arguments(handed_on)
    unknown = handed_on.parse_known_args(args.extra)[1]
    if unknown:
        known = [*option_names(parser), *option_names(handed_on)]
        parser.error(" ".join(describe_unknown(unknown, known)))
    ours = [w for w in args.extra if w.split("=")[0] in OURS]
    if ours:
        parser.error(f"{ours[0]}: it is set for each run.")


def seeds(text: str) -> list[int]:
    """Returns the seeds that '3', '0,1,2' or '0..4' stands for."""
    first, dots, last = text.partition("..")
    try:
        chosen = (
            list(range(int(first), int(last) + 1)) if dots else [int(s) for s in text.split(",")]
        )
    except ValueError:
        chosen = []
    if not chosen or len(set(chosen)) != len(chosen):
        raise argparse.ArgumentTypeError(f"{text!r} names no seeds: 0, or 0,1,2, or 0..4")
    return chosen
