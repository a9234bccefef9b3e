# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fine-tunes on shares of the labels, from scratch and from weights: compare with its own starts.

Every start takes the config's learning rate, and the table says nothing of differences.
"""

import argparse

from xmoco_plugin.cli import compare
from xmoco_plugin.cli.options.few_labels import NAME
from xmoco_plugin.cli.share_results import write_results


def asked_starts(args: argparse.Namespace) -> dict[str, str]:
    """Returns the checkpoints by name; scratch has the word itself."""
    asked = {"scratch": "scratch", "pretrained": args.checkpoint, "imagenet": args.imagenet}
    if args.checkpoint == "scratch":
        del asked["pretrained"]
    return {name: checkpoint for name, checkpoint in asked.items() if checkpoint}


def main(args: argparse.Namespace) -> None:
    """Plans, fine-tunes, prints."""
    args.rates = [1.0]
    prefixes = {"pretrained": args.prefix}
    compare.run(args, NAME, asked_starts(args), write_results, ["imagenet"], prefixes)
