# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes train.npz and test.npz, as NpzImages reads them, from CIFAR-10's Python files.

FOLDER holds cifar-10-batches-py, as the authors' archive unpacks. Nothing is downloaded. The files
are pickles, which mmpretrain's CIFAR10 reads after checking their MD5 sums.
"""

import argparse
from pathlib import Path


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("folder", help="folder that holds cifar-10-batches-py")
    parser.add_argument("out", type=Path, help="folder for train.npz and test.npz")
