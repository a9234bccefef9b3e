# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The options of a pretraining, as far as the hosts must be asked, and the folder they claim."""

import argparse
import json
import os
from pathlib import Path
from typing import Any

import torch

from xmoco_plugin import pretraining as own
from xmoco_plugin.checkpoint import CheckpointError, write_text
from xmoco_plugin.cli import pretrain_shards as shards
from xmoco_plugin.cli import pretrain_teacher as teacher
from xmoco_plugin.cli.options.pretrain import all_of
from xmoco_plugin.teachers import looks_like_a_file
from xmoco_plugin.untrusted import FileRefusedError, printable, read_json_object

MOST = 12  # options that a message names
WITHOUT_MOMENTUM = {  # options that a teacher leaves without meaning, by what it has not
    "momentum": "key encoder that it could move",
    "key_view": "key encoder that would see it",
    "temperature": "InfoNCE; its relation has two temperatures of its own",
}
AS_IN_MOCOV3 = {
    "queue_len": "which has none",
    "momentum": "which has a schedule for it",
    "key_view": "where both views are queries and keys",
    "temperature": "with its own temperature",
}
SHOWN = 200  # characters of an option that a message shows


def check(args: argparse.Namespace) -> None:
    """Checks what only the hosts know of the options that `options.pretrain` has let pass.

    Raises:
        PretrainError: Names every mistake at once.
    """
    found = list(filter(None, (own.check_source(source, shards=True) for source in args.data)))
    if any(map(own.is_shards, args.data)):
        found += shards.check(args)
    if why := own.unfit_for_configs(Path(args.out).expanduser()):
        found.append(f"--out {printable(args.out)}: {why}")
    if args.model:
        try:
            own.check_image_size(args.model, args.given.get("image_size", 224))
        except own.PretrainError as error:
            found.append(str(error))
    if args.labels:
        why = own.unfit_for_configs(Path(args.labels).expanduser())
        unfit = why and f"--labels {printable(args.labels)}: {why}"
        found += filter(None, [unfit or own.check_labels(args.labels)])
    begun = (Path(args.out).expanduser() / "config.py").is_file()
    args.offered = None
    if args.init and not begun:  # else the run has them
        try:
            args.offered = own.look_into(
                args.init, args.prefix, args.model, args.given.get("image_size")
            )
        except CheckpointError as error:
            found.append(f"--init: {error}")
    model = args.model or (args.offered.model if args.offered else None)
    found += [] if begun else teacher.check(args)
    if teacher.alone(args):
        found += [
            f"--{name.replace('_', '-')}: with a --teacher there is no {lacks}."
            for name, lacks in WITHOUT_MOMENTUM.items()
            if name in args.given
        ]
    if own.is_mocov3_vit(model) and "teacher_beside_moco" in args.given:
        found.append(
            f"--teacher-beside-moco: {own.VIT_SMALL} is trained as in MoCo v3, without a queue; "
            "leave it out, or name another --model."
        )
    elif own.is_mocov3_vit(model) and not args.teacher:
        found += [
            f"--{name.replace('_', '-')}: {own.VIT_SMALL} is trained as in MoCo v3, {why}."
            for name, why in AS_IN_MOCOV3.items()
            if name in args.given
        ]
    there = torch.cuda.device_count()
    if args.given.get("gpus", 1) > max(there, 1) and there:
        found.append(f"--gpus {args.given['gpus']}: this machine has {there}.")
    if found:
        raise own.PretrainError(all_of(found))
    shards.name_set(args)


def check_numbers_of(given: dict[str, Any], images: int, teacher: bool = False) -> None:
    """Checks the numbers among the options that so many images, or fewer, cannot fill.

    Args:
        given: The numbers.
        images: At most.
        teacher: Whether the keys are a teacher's, which never age.

    Raises:
        PretrainError: A batch or a queue is longer than the set.
    """
    processes = given.get("gpus", 1)
    if given.get("batch_size", 0) * processes > images:
        raise own.PretrainError(
            f"--batch-size {given['batch_size']} on {processes} processes: there are only "
            f"{images:,} images"
        )
    if given.get("queue_len", 0) > images:
        why = (
            f"a step can compare with the teacher's keys of all {images:,} images at most."
            if teacher
            else f"there are only {images:,} images, and a longer queue holds stale keys of the "
            "same ones."
        )
        raise own.PretrainError(f"--queue-len {given['queue_len']:,}: {why}")


def claim(folder: Path, args: argparse.Namespace) -> None:
    """Makes the folder this command's, or makes sure that it is.

    Raises:
        PretrainError: It holds a run with other options; they are named.
    """
    options = {
        **vars(args),
        **args.given,
        "data": [d if "://" in d else os.path.abspath(d) for d in args.data],
    }
    for name in ("labels", "init"):
        options[name] = options[name] and os.path.abspath(os.path.expanduser(options[name]))
    if args.teacher and looks_like_a_file(args.teacher):
        options["teacher"] = os.path.abspath(os.path.expanduser(args.teacher))
    # Neither does where shards are kept change anything of the run.
    unasked = {
        *("out", "given", "offered", "verbose", "keep_going", "yes", "on_nan"),
        *("checkpoint_minutes", "cache", "cache_gb"),
    }
    options = {k: v for k, v in options.items() if v is not None and k not in unasked}
    file = folder / "options.json"
    # Before there is a config nothing has been trained, and a refused start may be mended.
    if file.is_file() and (folder / "config.py").is_file():
        try:
            old = read_json_object(file)
        except FileRefusedError as error:
            raise own.PretrainError(f"{file}: {error}. {own.ANOTHER}") from None
        unlike = [
            f"--{_short(key).replace('_', '-')} was {_short(old.get(key))}, "
            f"now {_short(options.get(key))}"
            for key in sorted({*old, *options})
            if old.get(key) != options.get(key)
        ]
        if unlike:
            raise own.PretrainError(
                f"{folder} holds a run with other options: {'; '.join(unlike[:MOST])}. Give the "
                "same to go on with it, or name a new --out (--init starts from weights of the old "
                "run)."
            )
        return
    write_text(file, json.dumps(options, indent=1))


def _short(value: object) -> str:
    """A value, which anybody may have written, as a message shows it."""
    text = printable(str(value))
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
