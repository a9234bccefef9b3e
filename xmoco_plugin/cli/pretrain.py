# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Pretrains on your images: looks at them, chooses the settings, trains, hands the backbone on.

The same command again goes on where it stopped. What it chooses and why: docs/choose_settings.md.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.registry import init_default_scope
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xmoco_plugin import pretraining as own
from xmoco_plugin.checkpoint import write_text
from xmoco_plugin.cli import console, exits, processes
from xmoco_plugin.cli import pretrain_end as end
from xmoco_plugin.cli import pretrain_options as options
from xmoco_plugin.cli import pretrain_shards as shards
from xmoco_plugin.cli import pretrain_teacher as teacher
from xmoco_plugin.cli.pretrain_data import ask_disk, compare_labels, look_for_training
from xmoco_plugin.cpu_amp import multiplies_bfloat16
from xmoco_plugin.pretraining import choices as rules
from xmoco_plugin.untrusted import printable
from xmoco_plugin.visualization.report.config_diff import differences, host_config
from xmoco_plugin.weights import newest_before

SHOWN = 20  # files that were left out; all of them are in scan.txt


def take_images(
    args: argparse.Namespace, given: dict[str, Any], folder: Path, began: own.RunSettings | None
) -> own.Scan:
    """The images of the command, looked at and listed.

    Args:
        args: Of the command line.
        folder: Of the run; `began`: its settings, where it goes on.

    Raises:
        PretrainError: There are too few different ones, or others than when the run began.
    """
    for source in filter(own.is_archive, args.data):
        ask_disk(folder, Path(source).expanduser().stat().st_size, f"to unpack {source}")
    notes: list[str] = []
    limits = given.get("max_unpacked"), given.get("max_members")
    paths = own.list_images(args.data, folder / "unpacked", *limits, notes)
    side = given.get("tiles")
    if len(paths) >= rules.MIN_IMAGES and side is None:  # fewer are refused for their number
        options.check_numbers_of(given, len(paths), teacher.alone(args))  # before they are opened
    found = look_for_training(paths, folder, given)
    if side is not None and (said := own.check_sides(found, side)):
        notes.append(said)
    found.notes, found.given_depth = [*notes, *found.notes], given.get("bit_depth")
    own.check_readable(found)
    if began is None:
        own.check_number(found)
    else:
        own.compare_with_list(found, folder, began.moved_from)
    own.write_list(found, folder)
    return found


def choose(
    args: argparse.Namespace,
    given: dict[str, Any],
    found: own.Scan,
    folder: Path,
    teaching: teacher.Teaching | None = None,
) -> tuple[own.Choices, Any, list[str]]:
    """The settings, the backbone's outputs, and what else there is to say.

    Raises:
        PretrainError: The backbone does not fit, the memory or the disk is too small, or an option
            does not fit the data.
    """
    device = torch.device(get_device())
    on_gpu = device.type != "cpu"
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # Before a step is measured.
    alone = teacher.alone(args)
    options.check_numbers_of(given, found.items, alone)
    facts = own.Facts(
        *(found.items, found.item_sides, on_gpu, cpus, given.get("gpus", 1)),
        bfloat16=multiplies_bfloat16(),
    )
    if "crop_scale" in given:
        given = {**given, "crop_scale": (given["crop_scale"], 1.0)}
    kind = own.TeacherChooser if alone else own.Chooser
    wanted = {**given, "model": args.model}
    chooser = kind(facts, wanted, pretrained=bool(args.init), offered=args.offered)
    chosen = chooser.choices
    chooser.views()
    own.check_image_size(chosen.model, chosen.image_size)  # of a model that was chosen too
    if found.channels:
        own.take_channels(chosen, found.channels.number)
    backbone = own.backbone_config(chosen.model, chosen.image_size, 1, chosen.in_channels)
    outputs = own.probe(backbone, chosen.image_size, chosen.in_channels)
    chooser.layout(outputs.grouped)
    chooser.number_format(own.is_resnet(chosen.model))
    chooser.norms(outputs.fixable)
    with console.waiting("measuring a training step"):
        model = teaching.model(chosen, outputs, True) if teaching else None
        model = model or own.model_config(chosen, outputs)
        cost = own.measure_step(model, chosen.image_size, device, 8, chosen.in_channels)
    if teaching:
        cost = teaching.costs(cost)
    memory = rules.SHARE * own.free_memory(device) / (1 if on_gpu else facts.processes)
    fits = cost.largest_batch(memory)
    kept = f"{end.memory_text(cost.per_image)} an image, {memory / 1e9:.1f} GB to use"
    chooser.batch(fits, kept)
    if chosen.batch_size > fits:
        raise own.PretrainError(
            f"a batch of {chosen.batch_size} images does not fit: {kept}, so {fits} at most. "
            "Choose a smaller --batch-size, --image-size or --model."
        )
    chooser.length()
    chooser.averages(outputs.slow)
    chooser.queue()
    chooser.workers()
    lengths = dict(batch_size=chosen.batch_size, queue_len=chosen.queue_len)
    options.check_numbers_of({**given, **lengths}, facts.images, alone)
    # Three are kept, and one by the clock; two more are written before an old one goes; the exports
    # are smaller than one.
    ask_disk(folder, 7 * cost.checkpoint, "for checkpoints and exports")
    seconds = cost.seconds_per_image * facts.images * chosen.epochs / facts.processes
    return (
        chosen,
        outputs,
        [
            f"one step: {1 / cost.seconds_per_image:,.0f} images/s without loading; {kept}",
            f"all epochs: at least {end.time_text(seconds)}",
            f"a checkpoint: {cost.checkpoint / 1e6:,.0f} MB",
            *(f"{chosen.model}: {said}" for said in own.reasons(own.chosen_backbone(chosen, 1))),
            *(teaching.notes if teaching else []),
        ],
    )


def opening(lines: list[str], chosen: Any, cfg: Any) -> str:
    """What the log begins with."""
    rows = "\n".join(f"  {name:<11} {value:<14} {why}" for name, value, why in chosen.rows())
    base = host_config(own.base_config(chosen.model))
    unlike = differences(base[1], cfg) if base is not None else []
    changed = "\n".join(
        f"  {key}: {printable(str(old))} -> {printable(str(new))}"
        for key, old, new in unlike
        if key.split(".")[0] in own.RUNNER_KEYS and not key.startswith("val_")
    )
    return (
        "data\n"
        + "\n".join(f"  {line}" for line in lines)
        + f"\nchoices\n{rows}\n"
        + f"differences from {base[0] if base else 'the host'}\n{changed}\n"
    )


def prepare(args: argparse.Namespace, given: dict[str, Any], folder: Path) -> int:
    """Looks, chooses, says so, and writes the config; a run that has one keeps it.

    Returns:
        The epochs to train for.
    """
    began = own.run_settings(folder) if (folder / "config.py").is_file() else None
    dataset: dict[str, Any] | None = None
    if shards.is_set(args):
        found, dataset = shards.take(args, given, folder, began)
    else:
        found = take_images(args, given, folder, began)
    if began is not None:
        was = f", which was {printable(began.moved_from)} when it began" if began.moved_from else ""
        number = found.items if found.tiles is None else len(found.good)
        print(f"going on with {folder}{was}: {number:,} images as before")
        if began.moved_from:
            own.move_texts(folder, began.moved_from)
        if args.keep_going:
            own.go_on_anyway(folder, began.config)
        return began.epochs
    teaching = teacher.begin(args, given, found)
    chosen, outputs, notes = choose(args, given, found, folder, teaching)
    lines = own.describe(found, chosen.image_size)
    tiles = found.tiles and own.reading_of(
        found.tiles, len(found.good), own.free_memory(torch.device("cpu")), chosen.workers
    )
    lines += own.describe_reading(tiles) if tiles else ()
    rows, known = compare_labels(args.labels, found, folder, given) if args.labels else ([], 0)
    lines += rows
    bad = [f"left out: {printable(path)}: {why}" for path, why in found.bad]
    write_text(folder / "scan.txt", "\n".join([*lines, *bad]) + "\n")
    shown = [*lines, *bad[:SHOWN]]
    if len(bad) > SHOWN:
        shown.append(f"... and {len(bad) - SHOWN:,} more: {folder / 'scan.txt'}")
    student = teaching.model(chosen, outputs) if teaching else None
    start = args.init and own.first_weights(
        args.init, chosen, outputs, folder, args.prefix, student
    )
    cfg = own.run_config(
        *(chosen, outputs, folder, args.labels, given.get("seed", 0)),
        amp=get_device() == "cuda",
        processes=given.get("gpus", 1),
        load_from=start,
        max_pixels=given.get("max_pixels"),
        labels_trained_on=known,
        keep_going=args.keep_going,
        bit_depth=found.bit_depth,
        tiles=tiles,
        channels=found.channels and found.channels.plan(found.given_depth),
        dataset=dataset,
    )
    cfg = teaching.configure(cfg, chosen, outputs) if teaching else cfg
    write_text(folder / "opening.txt", opening([*shown, *notes], chosen, cfg))
    table = Table("setting", "value", "why", box=None, pad_edge=False)
    for row in chosen.rows():
        table.add_row(*map(Text, row))  # texts: rich takes [red] for a colour
    screen = Console(soft_wrap=True) if sys.stdout.isatty() else Console(width=160)
    for line in [*shown, *notes]:
        screen.print(line, markup=False, highlight=False)
    screen.print(table)
    for advice in (own.outlook, own.better_start):
        if not args.init and (said := advice(found.items)):
            print(said)
    if teaching:
        teaching.teach(cfg, folder, chosen.workers)
    write_text(folder / "config.py", cfg.pretty_text)
    return chosen.epochs


def train(folder: Path, epochs: int, gpus: int, lock: own.RunLock, more: Sequence[str] = ()) -> int:
    """Trains, or goes on, in a process that holds the folder too; returns the exit status.

    `more` are options of train.
    """
    if why := own.stopped(folder):
        print(f"{why}\nThe same command with --keep-going trains on.")
        return 0
    last = own.set_aside(folder)
    resume: list[str] = []
    if last is not None:
        done = own.epoch_of(last)
        if done >= epochs and own.judged(folder) >= epochs:
            print(f"all {epochs} epochs are done")
            return 0
        resume = ["--resume", str(last)]
        if done >= epochs:  # killed after the last checkpoint: what follows it is made once more
            before = newest_before(folder, last)
            resume = ["--resume", str(before)] if before else []
    # What lies in the folder is data: the training does not run it either.
    resume.append("--config-as-data")
    config = str(folder / "config.py")
    command = processes.command("train", [config, *resume, *more], gpus)
    environment = {**os.environ, exits.PARENT: "pretrain.py"}
    with subprocess.Popen(command, env=environment, pass_fds=lock.handles) as training:
        try:
            lock.note(training.pid)
            with processes.asked_too(training):
                return training.wait()
        except BaseException as stop:  # Ctrl-C above all: the training does not outlive it
            processes.end(training, isinstance(stop, exits.Terminated))
            raise


def main(args: argparse.Namespace) -> None:
    """Pretrains."""
    init_default_scope("mmpretrain")
    options.check(args)
    given = args.given
    folder = Path(args.out).expanduser().resolve()
    try:
        with own.RunLock(folder) as lock:
            own.check_files(folder)
            own.remove_temporary(folder)
            options.claim(folder, args)
            epochs = prepare(args, given, folder)
            more = [*["--verbose"] * args.verbose, "--on-nan", args.on_nan]
            if "checkpoint_minutes" in given:
                more += ["--checkpoint-minutes", str(given["checkpoint_minutes"])]
            status = train(folder, epochs, given.get("gpus", 1), lock, more)
            end.finish(folder, status)
    except KeyboardInterrupt as stop:
        raise type(stop)("stopped; the same command goes on") from None
    if status:
        raise SystemExit(128 - status if status < 0 else status)
