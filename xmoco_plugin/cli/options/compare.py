# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which weights are the best start of your detector or segmentor: paired fine-tunings, a verdict.

Every start trains on the same images, with the same seeds and for as long, at the learning rate
that is best for it on a part of the training images. The last start is compared with each other.
"""

import argparse
import math
import os
import re

from . import few_labels, transfer
from .shared import refuse

NAME = "compare"  # of the files with the results
SCRATCH = "scratch"  # random weights
RATES = [0.3, 1.0, 3.0]  # times the config's; a step of three, as grids of rates have it
KNOWN_ONLY = True  # other words are handed on


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    transfer.add_runs(parser, f"work_dirs/{NAME}/CONFIG, with a folder a run", "0..4")
    parser.add_argument(
        "--starts",
        required=True,
        type=starts,
        metavar="NAME=FILE,...",
        help="two or more: the word scratch, and NAME=FILE for weights of any layout, or for the "
        "folder of a run of pretrain; of a detector's file the backbone is taken",
    )
    few_labels.add_shares(parser, "5,10,25,100")
    parser.add_argument(
        "--rates",
        type=factors,
        metavar="N,N,...",
        help="times the config's learning rate, above 0: the best is found for each start; one "
        f"number is taken as it is; default: {','.join(f'{rate:g}' for rate in RATES)}, and up to "
        "two beyond where the best is at an end",
    )


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends with what is wrong between the options, files that are not there, or unknown words."""
    few_labels.check(args, parser)
    for name, file in args.starts.items():
        if name != SCRATCH and not os.path.exists(os.path.expanduser(file)):
            what = "a file of this machine is needed" if "://" in file else "there is no such file"
            refuse(parser, f"--starts {name}={file}: {what}.")


def starts(text: str) -> dict[str, str]:
    """Returns the files by name that 'scratch,imagenet=FILE' stands for; scratch has itself."""
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, file = part.partition("=")
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or (name == SCRATCH) == bool(equals):
            raise argparse.ArgumentTypeError(
                f"{part!r} is no start: the word scratch, or NAME=FILE with a NAME of letters, "
                "figures, _ and -"
            )
        if equals and file in ("", SCRATCH):
            raise argparse.ArgumentTypeError(f"{part!r} names no file")
        if name in found:
            raise argparse.ArgumentTypeError(f"{name} is named twice: each start has its own name")
        found[name] = file or SCRATCH
    if len(found) < 2:
        raise argparse.ArgumentTypeError(
            f"{text!r} is one start: a comparison needs two, as in scratch,pretrained=FILE"
        )
    return found


def factors(text: str) -> list[float]:
    """Returns the rising numbers above 0 that '0.3,1,3' stands for."""
    try:
        found = sorted(float(part) for part in text.split(","))
    except ValueError:
        found = []
    if not found or len(set(found)) < len(found) or not all(0 < f < math.inf for f in found):
        raise argparse.ArgumentTypeError(f"{text!r}: numbers above 0, each once, as in 0.3,1,3")
    return found
