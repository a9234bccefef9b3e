# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The options of evaluate.py."""

import argparse
import os
from collections.abc import Iterable
from functools import partial

from mmengine.config import DictAction

from xmoco_plugin.cli import backbones
from xmoco_plugin.evaluation.average_precision import RULES
from xmoco_plugin.evaluation.protocols import KS, PROTOCOLS, RECALLS, Settings

DESCRIPTION = "Judges a backbone by several protocols, from features that are extracted once."


def parse_args() -> argparse.Namespace:
    """Parses the command line of evaluate.py."""
    parser = argparse.ArgumentParser(description=DESCRIPTION)
    add = parser.add_argument
    add("checkpoint", help="checkpoint file of a pretraining")
    add(
        "--config",
        help="config with its model; default: the one in the checkpoint, or beside an export",
    )
    add(
        "--protocol",
        type=protocols,
        default="knn,linear-fast,retrieval",
        metavar="A,B",
        help=f"of {', '.join(PROTOCOLS)}; default: %(default)s",
    )
    add("--data", help="labelled folder; default: the sets of the config's kNN loop")
    add("--data-root", help="folder of the config's sets, without --data")
    backbones.add_image_size(parser)
    add(
        "--augment",
        type=int,
        default=0,
        help="passes with random crops and flips, for linear-fast; default: %(default)s",
    )
    add("--out", help="folder of the table; default: work_dirs/evaluate/CHECKPOINT-HASH/DATA-SIZE")
    backbones.add_loading(parser)
    add(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="threads of the SVMs; default: %(default)s, one a core",
    )
    several = partial(add, nargs="+", default=argparse.SUPPRESS)
    fit = "those of {} that there are images for"
    several("--k", dest="ks", type=int, help=f"neighbours; default: {fit.format(words(KS))}")
    several(
        "--temperature",
        dest="temperatures",
        type=backbones.temperature,
        help=f'a number, or "none"; default: {words(Settings.temperatures)}',
    )
    several(
        "--lr",
        dest="lrs",
        type=float,
        help=f"learning rates of the linear heads; default: {words(Settings.lrs)}",
    )
    several(
        "--weight-decay",
        dest="weight_decays",
        type=float,
        help=f"of the linear heads; default: {words(Settings.weight_decays)}",
    )
    several("--costs", type=float, help="C of the SVMs; default: the 26 of FAIR's benchmark")
    several(
        "--shots",
        type=int,
        help="images a class of the low-shot SVMs; default: those of 1, 2, 4, ..., 64, 96 that "
        "every class has",
    )
    several(
        "--recall",
        dest="recalls",
        type=int,
        help=f"k of recall@k; default: {fit.format(words(RECALLS))}",
    )
    add("--epochs", type=int, default=100, help="of the linear heads; default: %(default)s")
    add("--rule", choices=RULES, default="area", help="of average precision; default: %(default)s")
    add("--cfg-options", nargs="+", action=DictAction, help="override settings: key=value")
    args = parser.parse_args()
    if args.augment < 0 or args.epochs < 1:
        parser.error("--epochs starts at 1, --augment at 0")
    return args


def words(values: Iterable[float | None]) -> str:
    """What the command line takes for these values."""
    return " ".join(f"{value:g}" if value is not None else "none" for value in values)


def protocols(text: str) -> list[str]:
    """The protocols that 'knn,svm' names."""
    names = text.split(",")
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {','.join(PROTOCOLS)}")
    return names
