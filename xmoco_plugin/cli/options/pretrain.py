# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Pretrains on your images: looks at them, chooses the settings, trains, hands the backbone on.

The same command again goes on where it stopped. What it chooses and why: docs/choose_settings.md.
"""

import argparse
import os
from pathlib import Path
from typing import Any

from .parser import describe_unknown, one_of, option_names
from .shared import YEAR, add_on_nan, add_prefix, add_verbose, refuse

NUMBERS: dict[str, tuple[type, float, float, str]] = {
    "epochs": (int, 1, 1_000_000, "passes over the images"),
    "batch_size": (int, 2, 1_000_000, "images a step and process"),
    "image_size": (int, 32, 4096, "side of the views, px"),
    "queue_len": (int, 1, 100_000_000, "keys in the queue"),
    "temperature": (float, 0.01, 10, "temperature of InfoNCE and the terms"),
    "momentum": (float, 1e-6, 1, "update rate of the key encoder"),
    "lr": (float, 1e-9, 1000, "learning rate"),
    "crop_scale": (float, 1e-3, 1, "smallest share of an image that a view is cut from"),
    "workers": (int, 0, 1024, "processes that load images"),
    "teacher_size": (int, 8, 4096, "side of the images that the teacher sees, px"),
    "teacher_beside_moco": (float, 1e-3, 1000, "weight of InfoNCE beside the teacher"),
    "seed": (int, 0, 2**31, "of all that is drawn"),
    "gpus": (int, 1, 1024, "processes on this machine, a GPU each"),
    "max_pixels": (int, 1, 10**10, "largest image that is read, height times width"),
    "tiles": (int, 64, 8192, "train on tiles of large pictures: their side, px"),
    "channels": (int, 1, 512, "channels that each TIFF is read with, whatever a picture has"),
    "bit_depth": (int, 8, 16, "significant bits of 16-bit grey images and of channels"),
    "max_unpacked": (float, 1e-3, 1e6, "GB that may come out of an archive"),
    "max_members": (int, 1, 10**9, "files that an archive may list"),
    "cache_gb": (float, 1e-3, 1e6, "of shards of a bucket that are kept on this machine"),
    "checkpoint_minutes": (float, 0, YEAR, "between checkpoints, in an epoch too; 0: only at ends"),
}
DEFAULTS = {
    "teacher_size": "224 with a GPU, 96 without",
    "teacher_beside_moco": "the teacher alone, without a momentum encoder",
    "seed": "0",
    "gpus": "1",
    "max_pixels": "128,000,000",
    "tiles": "the whole images",
    "channels": "those of TIFFs that are no pictures",
    "max_unpacked": "10, or 20 times the archive's size",
    "max_members": "5,000,000",
    "cache_gb": "half of what the disk has free",
    "checkpoint_minutes": "30",
}  # the others are chosen by the data
TEACHER_VIEWS = ("stored", "crop")
KEY_VIEWS = ("weak", "strong")
LOCK = ".pretrain.lock"  # what another command that holds the folder has put there
KNOWN_ONLY = True  # other words are mistakes, said with all others


def add(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        "--data",
        nargs="+",
        default=[],
        metavar="FOLDER|FILE|URL",
        help="your images; a set of shards may be s3://bucket/set",
    )
    parser.add_argument("--out", default="", help="folder of the run")
    parser.add_argument(
        "--model",
        help="resnet18 to resnet152, vit-small, or a backbone of mmpretrain, or of mmdet and mmseg "
        "as mmdet.CSPNeXt:tiny; default: resnet50 with a GPU, resnet18 without",
    )
    parser.add_argument(
        "--labels", help="labelled images for kNN: a folder for each class; default: no kNN"
    )
    parser.add_argument(
        "--init",
        help="checkpoint whose backbone to start from, recommended below 50,000 images; default: "
        "random weights",
    )
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="train to the end although kNN has become worse than that of --init; default: stop",
    )
    parser.add_argument(
        "--key-view",
        type=one_of(KEY_VIEWS),
        choices=KEY_VIEWS,
        help="what the momentum encoder sees: a crop, at times mirrored, or all of the query's "
        "transforms; default: weak",
    )
    parser.add_argument(
        "--cache",
        metavar="FOLDER",
        help="where shards of a bucket are kept; default: ~/.cache/xmoco_plugin/shards",
    )
    add_prefix(parser, "--init")
    add_teacher(parser)
    add_verbose(parser)
    add_on_nan(parser)
    for name, (_, low, high, meaning) in NUMBERS.items():
        default = DEFAULTS.get(name, "chosen, and said with the reason")
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            metavar="N",
            help=f"{meaning}, {low:,} to {high:,}; default: {default}",
        )


def add_teacher(parser: argparse.ArgumentParser) -> None:
    """Adds the options of a frozen teacher."""
    parser.add_argument(
        "--teacher",
        metavar="NAME|FILE",
        help="network to learn from: a checkpoint, or a name of mmpretrain or timm; default: none",
    )
    parser.add_argument(
        "--teacher-model",
        metavar="NAME",
        help="which network is in the teacher's file; default: what the file says",
    )
    parser.add_argument(
        "--teacher-views",
        type=one_of(TEACHER_VIEWS),
        choices=TEACHER_VIEWS,
        help="ask the teacher once for each image, or for each of the student's crops; default: "
        "stored",
    )
    parser.add_argument(
        "--teacher-channels",
        metavar="R,G,B",
        help="of images of many channels, those that the teacher sees, counted from 1, or one as "
        "grey; default: the first three of 3 and of 4",
    )
    parser.add_argument(
        "--yes",
        action="store_true",
        help="go on where the command would ask: fetching a teacher under its licence, or training "
        "with one that knows nothing of the images; default: ask",
    )


def check(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Puts the numbers among the options into `args.given`.

    Raises:
        SystemExit: Every mistake that shows without the hosts was said at once.
    """
    found = describe_unknown(args.extra, option_names(parser))
    if not args.data:
        found.append("--data: name the folder of your images, or several.")
    found += [
        f"--data {source}: there is no such file or folder (looked from {Path.cwd()})."
        for source in args.data
        if "://" not in source and not Path(source).expanduser().exists()
    ]
    found += filter(None, [check_out(args.out)])
    if args.labels and not Path(args.labels).expanduser().is_dir():
        found.append(f"--labels {args.labels}: there is no such folder (looked from {Path.cwd()}).")
    # A run that has its config has its first weights and its teacher too.
    begun = (Path(args.out).expanduser() / "config.py").is_file()
    if args.init and not begun and not Path(args.init).expanduser().exists():
        found.append(f"--init: There is no checkpoint {args.init}.")
    if args.prefix is not None and not args.init:
        found.append(f"--prefix {args.prefix}: it is of the keys in --init, and there is none.")
    if args.keep_going and not (args.init and args.labels):
        found.append("--keep-going: only a run with --init and --labels is ever stopped.")
    args.given = {}
    for name in NUMBERS:
        found += read_number(name, getattr(args, name), args.given)
    side, view = args.given.get("tiles"), args.given.get("image_size", 0)
    if side and view > side:
        found.append(
            f"--tiles {side}: the views of --image-size {view} px would be enlarged; choose tiles "
            "as large as the views, or larger."
        )
    if side and args.teacher:
        found.append(f"--tiles {side}: a --teacher looks at whole images; leave out one of both.")
    if not any("://" in source for source in args.data):
        found += [
            f"{option}: only shards of a bucket are kept, and --data names none."
            for option, value in (("--cache", args.cache), ("--cache-gb", args.cache_gb))
            if value is not None
        ]
    if args.key_view:
        args.given["key_view"] = args.key_view
    if args.teacher_channels is not None:
        found += read_channels(args.teacher_channels, args.given)
    if not args.teacher:
        found += [
            f"{option}: there is no --teacher."
            for option, value in (
                ("--teacher-model", args.teacher_model),
                ("--teacher-views", args.teacher_views),
                ("--teacher-channels", args.teacher_channels),
                ("--teacher-size", args.teacher_size),
                ("--teacher-beside-moco", args.teacher_beside_moco),
            )
            if value is not None
        ]
    del args.extra
    if found:
        refuse(parser, all_of(found))


def all_of(found: list[str]) -> str:
    """One message for several mistakes."""
    if len(found) == 1:
        return found[0]
    return f"{len(found)} options need a change:\n" + "\n".join(f"  - {f}" for f in found)


def read_number(name: str, text: str | None, given: dict[str, Any]) -> list[str]:
    """Puts a number into `given`; returns what is wrong with it."""
    kind, low, high, meaning = NUMBERS[name]
    if text is None:
        return []
    try:
        given[name] = kind(text)
        if not low <= given[name] <= high:
            raise ValueError
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        option = f"--{name.replace('_', '-')} {text}"
        return [f"{option}: {meaning}; {what} from {low:,} to {high:,}."]
    return []


def read_channels(text: str, given: dict[str, Any]) -> list[str]:
    """Puts the channels that a teacher sees into `given`; returns what is wrong with them."""
    option = f"--teacher-channels {text}"
    number, most = given.get("channels"), NUMBERS["channels"][2]
    try:
        named = [int(word) for word in text.split(",")]
    except ValueError:
        return [f"{option}: numbers of channels counted from 1, as in 3,2,1; one is seen as grey."]
    if outside := [channel for channel in named if not 1 <= channel <= (number or most)]:
        last = f"--channels {number}" if number else f"{most}"
        return [f"{option}: channels are counted from 1 to {last}, and {outside[0]} is none."]
    if len({*named}) < len(named):
        return [f"{option}: a channel is named twice; one number alone is seen as grey."]
    given["teacher_channels"] = ",".join(map(str, named))
    return []


def check_out(out: str) -> str | None:
    """Why a folder cannot be that of a run, in a sentence; None where it can."""
    if not out:
        return "--out: name a folder for the run; it is made if it is not there."
    folder = Path(out).expanduser()
    if folder.exists() and not folder.is_dir():
        return f"--out {out}: it is a file. Name a folder."
    others = [p for p in folder.iterdir() if p.name != LOCK] if folder.is_dir() else []
    file = folder / "options.json"
    if file in others and not file.is_file():
        return f"--out {out}: {file} is not a regular file. Name another folder."
    if others and not file.is_file():
        return f"--out {out}: it is not empty, and not a run of this tool. Name a new folder."
    parent = next(p for p in [folder, *folder.absolute().parents] if p.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"--out {out}: no permission to write into {parent}."
    return None
