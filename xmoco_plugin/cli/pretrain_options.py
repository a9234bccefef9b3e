# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The options of pretrain.py: every mistake is found before anything is read or written."""

import argparse
import difflib
import json
import os
from pathlib import Path
from typing import Any

import torch

from xmoco_plugin import pretraining as own
from xmoco_plugin.checkpoint import CheckpointError, write_text
from xmoco_plugin.export import find_backbone, read_weights

NUMBERS: dict[str, tuple[type, float, float, str]] = {
    "epochs": (int, 1, 1_000_000, "passes over the images"),
    "batch_size": (int, 2, 1_000_000, "images a step and process"),
    "image_size": (int, 32, 4096, "side of the views, px"),
    "queue_len": (int, 1, 100_000_000, "keys in the queue"),
    "momentum": (float, 1e-6, 1, "update rate of the key encoder"),
    "lr": (float, 1e-9, 1000, "learning rate"),
    "crop_scale": (float, 1e-3, 1, "smallest share of an image that a view is cut from"),
    "workers": (int, 0, 1024, "processes that load images"),
    "seed": (int, 0, 2**31, "of all that is drawn"),
    "gpus": (int, 1, 1024, "processes on this machine, a GPU each"),
}


def parse_args(description: str | None = None) -> tuple[argparse.Namespace, list[str]]:
    """Parses the command line; returns what it does not know, too."""
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    parser.add_argument("--data", nargs="+", default=[], metavar="FOLDER|FILE", help="your images")
    parser.add_argument("--out", default="", help="folder of the run")
    parser.add_argument("--model", help="resnet18, resnet50, vit-small, or mmpretrain's backbones")
    parser.add_argument("--labels", help="labelled images for kNN: a folder for each class")
    parser.add_argument("--init", help="checkpoint whose backbone to start from")
    for name, (_, _, _, meaning) in NUMBERS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", metavar="N", help=meaning)
    parser.add_argument("--verbose", action="store_true", help="show all of the log")
    return parser.parse_known_args()


def check(args: argparse.Namespace, unknown: list[str]) -> dict[str, Any]:
    """Returns the numbers among the options.

    Raises:
        PretrainError: Names every mistake in the options at once.
    """
    found, given = [], {}
    known = [f"--{name.replace('_', '-')}" for name in vars(args)]
    for word in [w for w in unknown if w.startswith("-")] or unknown:
        near = difflib.get_close_matches(word.split("=")[0], known, n=1)
        hint = f" The nearest is {near[0]}." if near else ""
        found.append(f"{word}: there is no such option.{hint}")
    if not args.data:
        found.append("--data: name the folder of your images, or several.")
    found += filter(None, map(own.check_source, args.data))
    found += filter(None, [_check_out(args.out)])
    if args.model:
        try:
            own.backbone_config(args.model, 224, 1)
        except own.PretrainError as error:
            found.append(str(error))
    if args.labels:
        found += filter(None, [own.check_labels(args.labels)])
    if args.init:
        try:
            find_backbone(read_weights(args.init))
        except CheckpointError as error:
            found.append(f"--init: {error}")
    if own.is_mocov3_vit(args.model):
        found += [
            f"--{name.replace('_', '-')}: {own.VIT_SMALL} is trained as in MoCo v3, which has none."
            for name in ("queue_len", "momentum")
            if getattr(args, name) is not None
        ]
    for name, (kind, low, high, meaning) in NUMBERS.items():
        text = getattr(args, name)
        if text is None:
            continue
        try:
            given[name] = kind(text)
            if not low <= given[name] <= high:
                raise ValueError
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            found.append(
                f"--{name.replace('_', '-')} {text}: {meaning}; {what} from {low:,} to {high:,}."
            )
    there = torch.cuda.device_count()
    if given.get("gpus", 1) > max(there, 1) and there:
        found.append(f"--gpus {given['gpus']}: this machine has {there}.")
    if found:
        raise own.PretrainError(
            found[0]
            if len(found) == 1
            else f"{len(found)} options need a change:\n" + "\n".join(f"  - {f}" for f in found)
        )
    return given


def _check_out(out: str) -> str | None:
    if not out:
        return "--out: name a folder for the run; it is made if it is not there."
    folder = Path(out).expanduser()
    if folder.exists() and not folder.is_dir():
        return f"--out {out}: it is a file. Name a folder."
    others = [p for p in folder.iterdir() if p.name != own.LOCK] if folder.is_dir() else []
    if others and not (folder / "options.json").is_file():
        return f"--out {out}: it is not empty, and not a run of this tool. Name a new folder."
    parent = next(p for p in [folder, *folder.absolute().parents] if p.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        return f"--out {out}: no permission to write into {parent}."
    return None


def claim(folder: Path, args: argparse.Namespace, given: dict[str, Any]) -> None:
    """Makes the folder this command's, or makes sure that it is.

    Raises:
        PretrainError: It holds a run with other options; they are named.
    """
    options = {**vars(args), **given, "data": [os.path.abspath(d) for d in args.data]}
    for name in ("labels", "init"):
        options[name] = options[name] and os.path.abspath(os.path.expanduser(options[name]))
    options = {k: v for k, v in options.items() if v is not None and k not in ("out", "verbose")}
    file = folder / "options.json"
    # Before there is a config nothing has been trained, and a refused start may be mended.
    if file.is_file() and (folder / "config.py").is_file():
        old = json.loads(file.read_text())
        unlike = [
            f"--{key.replace('_', '-')} was {old.get(key)}, now {options.get(key)}"
            for key in sorted({*old, *options})
            if old.get(key) != options.get(key)
        ]
        if unlike:
            raise own.PretrainError(
                f"{folder} holds a run with other options: {'; '.join(unlike)}. Give the same to "
                "go on with it, or name a new --out (--init starts from weights of the old run)."
            )
        return
    write_text(file, json.dumps(options, indent=1))
