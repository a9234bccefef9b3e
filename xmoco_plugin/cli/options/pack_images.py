# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Packs a folder of images into a few memory-mapped files that PackedImages reads.

A pack is read from end to end without opening a file an image. Run the same command again after a
kill: it goes on. Class folders become labels, names are kept, and `unpack` gives the files back.
`shards` writes plain tars of a folder's images into a folder or a bucket, for ShardedImages.
"""

import argparse
from pathlib import Path

from .parser import whole


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the four commands and their options; `args.what` is the one that was chosen."""
    commands = parser.add_subparsers(
        required=True, dest="what", metavar="{pack,shards,inspect,unpack}"
    )
    command = commands.add_parser("pack", help="write FOLDER's images to OUT")
    command.add_argument("folder", type=Path)
    command.add_argument("out", type=Path)
    command.add_argument(
        "--raw",
        action="store_true",
        help="store pixels: nothing to decode; default: the files as they are",
    )
    command.add_argument(
        "--shorter-side",
        type=whole(1),
        help="shrink larger images to this, in pixels, from 1; default: no image is shrunk",
    )
    command.add_argument(
        "--quality",
        type=whole(1, 100),
        default=95,
        help="of JPEGs that were shrunk, 1 to 100; default: %(default)s",
    )
    command.add_argument(
        "--max-pixels",
        type=whole(1),
        default=128_000_000,
        metavar="N",
        help="larger images are left out where they are decoded, from 1; default: %(default)s",
    )
    command = commands.add_parser(
        "shards", help="write FOLDER's images as shards, for a bucket or many machines"
    )
    command.add_argument("folder", type=Path)
    command.add_argument(
        "--to", required=True, metavar="FOLDER|URL", help="a folder, or s3://bucket/set (gs, az)"
    )
    command.add_argument(
        "--shard-mb",
        type=whole(1, 4096),
        default=32,
        metavar="N",
        help="of a shard, 1 to 4096; default: %(default)s",
    )
    command = commands.add_parser("inspect", help="say what a pack holds")
    command.add_argument("pack", type=Path)
    command.add_argument("--verify", action="store_true", help="compare every checksum")
    command = commands.add_parser("unpack", help="write a pack's images to files again")
    command.add_argument("pack", type=Path)
    command.add_argument("folder", type=Path)
