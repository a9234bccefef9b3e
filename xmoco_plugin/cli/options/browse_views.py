# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Saves pairs of views step by step, and says of each transform how often it changes an image."""

import argparse

from .parser import whole


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("config", help="of a pretraining whose pipeline has a MultiView")
    parser.add_argument(
        "--out", default="views", help="folder for the pictures and the table; default: %(default)s"
    )
    parser.add_argument(
        "--number", type=whole(1), default=8, help="of images, from 1; default: %(default)s"
    )
    parser.add_argument(
        "--runs",
        type=whole(1),
        default=400,
        help="of the pipeline, to count changes, from 1; default: %(default)s",
    )
    parser.add_argument("--data-root", help="folder of the data; default: the config's")
    parser.add_argument(
        "--seed",
        type=whole(0, 2**32 - 1),
        default=0,
        help="of all that is drawn, 0 to 4294967295; default: %(default)s",
    )
