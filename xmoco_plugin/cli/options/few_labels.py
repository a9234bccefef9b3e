# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fine-tunes on shares of the labels, from scratch and from weights; a table and a plot.

Scratch is always among the starts; the word scratch in the place of the checkpoint leaves it alone.
Further options that train and test have in common (--amp, --no-pin-memory) are handed to both.
"""

import argparse

from . import transfer

NAME = "few_labels"  # of the files with the results
KNOWN_ONLY = True  # other words are handed on


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    transfer.add_fine_tuning(parser, f"work_dirs/{NAME}/CONFIG, with a folder a run")
    parser.add_argument(
        "--imagenet",
        metavar="FILE",
        help="a third start: weights in torchvision's layout; default: none",
    )
    add_shares(parser, "1,5,10,25,100")


def add_shares(parser: argparse.ArgumentParser, usual: str) -> None:
    """Adds the options of shares of the labels; `usual` are those without an option."""
    parser.add_argument(
        "--shares",
        default=usual,
        type=shares,
        help="percent of the training images, above 0 and up to 100; default: %(default)s",
    )
    parser.add_argument(
        "--share-iters",
        type=positive,
        metavar="N,N,...",
        help="iterations of each share, the smallest first, from 1; default: the same for all",
    )
    parser.add_argument(
        "--same-images",
        action="store_true",
        help="every seed trains on the images of the first; default: each draws its own",
    )


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends with what is wrong between the options, or with words of nobody."""
    transfer.check(args, parser)
    if args.share_iters and len(args.share_iters) != len(args.shares):
        parser.error(
            f"--share-iters has {len(args.share_iters)} numbers for {len(args.shares)} shares."
        )


def shares(text: str) -> list[float]:
    """Returns the rising percentages that '1,5,100' stands for."""
    try:
        chosen = sorted(float(part) for part in text.split(","))
    except ValueError:
        chosen = []
    if not chosen or len(set(chosen)) < len(chosen) or not all(0 < s <= 100 for s in chosen):
        raise argparse.ArgumentTypeError(
            f"{text!r} names no shares: percentages above 0 and up to 100, each once, as in 1,5,100"
        )
    return chosen


def positive(text: str) -> list[int]:
    """Returns the whole numbers above 0 that '100,200' stands for."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: whole numbers above 0, as in 100,200,600")
    return [int(part) for part in parts]
