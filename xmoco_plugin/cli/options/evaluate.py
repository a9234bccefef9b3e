# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Judges a backbone by several protocols, from features that are extracted once."""

import argparse
import os
from collections.abc import Iterable
from functools import partial

from .parser import nearest, number, one_of, whole
from .shared import (
    add_cfg_options,
    add_image_size,
    add_loading,
    add_model_config,
    add_prefix,
    temperature,
)

# Those of xmoco_plugin.evaluation, which the hosts would have to be imported for.
PROTOCOLS = ("knn", "linear-fast", "svm", "low-shot", "retrieval")
KS = (10, 20, 200)
RECALLS = (1, 5, 10)
TEMPERATURES = (0.07,)
LRS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
WEIGHT_DECAYS = (0.0, 1e-5, 1e-4)
RULES = ("area", "11point", "step")


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add = parser.add_argument
    add("checkpoint", help="checkpoint file of a pretraining")
    add_model_config(parser)
    add(
        "--protocol",
        type=protocols,
        default="knn,linear-fast,retrieval",
        metavar="A,B",
        help=f"of {', '.join(PROTOCOLS)}; default: %(default)s",
    )
    add("--data", help="labelled folder; default: the sets of the config's kNN loop")
    add("--data-root", help="folder of the config's sets, without --data; default: the config's")
    add_prefix(parser)
    add_image_size(parser)
    add(
        "--augment",
        type=whole(0),
        default=0,
        help="passes with random crops and flips, from 0, for linear-fast; default: %(default)s",
    )
    add("--out", help="folder of the table; default: work_dirs/evaluate/CHECKPOINT-HASH/DATA-SIZE")
    add_loading(parser)
    add(
        "--jobs",
        type=int,
        default=os.cpu_count() or 1,
        help="threads of the SVMs, from 1, or -1 for all cores; default: %(default)s, one a core",
    )
    several = partial(add, nargs="+", default=argparse.SUPPRESS)
    fit = "those of {} that there are images for"
    several(
        "--k",
        dest="ks",
        type=whole(1),
        help=f"neighbours, from 1; default: {fit.format(words(KS))}",
    )
    several(
        "--temperature",
        dest="temperatures",
        type=temperature,
        help=f'a number above 0, or "none"; default: {words(TEMPERATURES)}',
    )
    several(
        "--lr",
        dest="lrs",
        type=number(0),
        help=f"learning rates of the linear heads, from 0; default: {words(LRS)}",
    )
    several(
        "--weight-decay",
        dest="weight_decays",
        type=number(0),
        help=f"of the linear heads, from 0; default: {words(WEIGHT_DECAYS)}",
    )
    several("--costs", type=number(0), help="C of the SVMs; default: the 26 of FAIR's benchmark")
    several(
        "--shots",
        type=whole(1),
        help="images a class of the low-shot SVMs, from 1; default: those of 1, 2, 4, ..., 64, 96 "
        "that every class has",
    )
    several(
        "--recall",
        dest="recalls",
        type=whole(1),
        help=f"k of recall@k, from 1; default: {fit.format(words(RECALLS))}",
    )
    add(
        "--epochs",
        type=whole(1),
        default=100,
        help="of the linear heads, from 1; default: %(default)s",
    )
    add(
        "--rule",
        type=one_of(RULES),
        choices=RULES,
        default="area",
        help="of average precision; default: %(default)s",
    )
    add_cfg_options(parser)


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends with what is wrong with a value."""
    if args.jobs < 1 and args.jobs != -1:
        parser.error(f"--jobs {args.jobs}: from 1, or -1 for all cores")


def words(values: Iterable[float | None]) -> str:
    """What the command line takes for these values."""
    return " ".join(f"{value:g}" if value is not None else "none" for value in values)


def protocols(text: str) -> list[str]:
    """The protocols that 'knn,svm' names."""
    names = text.split(",")
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown:
        near = nearest(unknown[0], PROTOCOLS)
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)}: choose from {','.join(PROTOCOLS)}"
            + (f". The nearest is {near}." if near else "")
        )
    return names
