# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes a checkpoint's backbone as another library reads it, or into a detector's checkpoint."""

import argparse

from .parser import one_of
from .shared import add_prefix

# Those of xmoco_plugin.export, which the hosts would have to be imported for.
TARGETS = ("mmpretrain", "torchvision", "timm", "detectron2", "safetensors", "mmseg")
LAYOUTS = ("auto", "mmpretrain", "moco", "moco-v3", "dino", "bare", "torchvision", "timm")
ENCODERS = ("query", "key")


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        "checkpoint", help="file or folder of a pretraining, or weights of these libraries"
    )
    parser.add_argument("out", help="file to write; its folder must exist")
    targets = parser.add_mutually_exclusive_group(required=True)
    targets.add_argument(
        "--to",
        type=one_of(TARGETS),
        choices=TARGETS,
        help="who will read it; no default: this or --into is needed",
    )
    targets.add_argument(
        "--into",
        metavar="FILE",
        help="checkpoint of a detector or segmentor of mmdet, mmseg or torchvision: OUT is the "
        "same with this backbone; its neck and heads stay; no default: this or --to is needed",
    )
    parser.add_argument(
        "--from",
        dest="layout",
        default="auto",
        type=one_of(LAYOUTS),
        choices=LAYOUTS,
        help="layout of the checkpoint; auto, the default, recognizes each of them",
    )
    parser.add_argument(
        "--encoder",
        type=one_of(ENCODERS),
        choices=ENCODERS,
        default="query",
        help="key: the momentum encoder, where the file has one; default: %(default)s",
    )
    add_prefix(parser)
    parser.add_argument(
        "--force", action="store_true", help="replace OUT if it exists; default: refuse to"
    )
