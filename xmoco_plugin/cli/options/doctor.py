# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Looks at this machine and its Python: what is right, and the command that mends what is not.

With --data it looks at your data instead, as training will: for pretraining, kNN labels, detection
or segmentation, as they are laid out. Ends with status 1 where something must be mended.
"""

import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        "--data",
        metavar="FOLDER|FILE",
        help="your data: images, folders of classes, train.npz, boxes in COCO's format, masks, or "
        "VOC's folders; default: none",
    )
    parser.add_argument(
        "--out", metavar="FOLDER", help="where data.txt gets every name; default: nowhere"
    )
