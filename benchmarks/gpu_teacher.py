# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of gpu_run.sh: our frozen teacher beside lightly-train's distillation, teacher_peer.py."""

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

import teacher_peer
import teacher_peer_runs as runs
import torch
from teacher_peer_nets import BF16, TEACHERS

# Seconds that must be left for the steps of a teacher to begin, and for a whole training.
STEPS, TRAINING = 20, 40


def teacher(part: Any) -> None:
    """Steps with both teachers, then whole trainings from JPEGs, once each."""
    warnings.filterwarnings("ignore", category=UserWarning)  # the hosts' own
    args = arguments(part)
    torch.set_num_threads(args.threads)
    peer, text = teacher_peer.look_for_peer(args)
    part.note(text)
    for name in part.within(STEPS, list(TEACHERS)):
        for row in teacher_peer.steps(args, name, BF16, part.device, peer is not None):
            part.row(**row)
        if part.device == "cuda":
            torch.cuda.empty_cache()
    with tempfile.TemporaryDirectory(prefix="gpu_teacher_") as scratch:
        runs.provide_images(args, Path(scratch, "images"))
        ways = {
            f"{name}: {way}": (name, way, train)
            for name in TEACHERS
            for way, train in teacher_peer.training_ways(
                args, name, BF16, part.device, peer is not None
            ).items()
        }
        for number, key in enumerate(part.within(TRAINING, list(ways))):
            name, way, train = ways[key]
            with part.attempt(training=way, teacher=name, precision=BF16) as row:
                found = train(Path(scratch, str(number)))
                row["images/s"] = found.rate
                if found.asked is not None:
                    row["pass, images/s"] = found.asked


def arguments(part: Any) -> argparse.Namespace:
    """teacher_peer.py's, in the sizes of this call."""
    sizes = part.sizes
    given = teacher_peer.parser().parse_args([])
    patch = max(teacher.patch for teacher in TEACHERS.values())
    vars(given).update(
        peer=part.peer,
        batch=sizes.batch,
        size=sizes.size // patch * patch,
        queue=min(sizes.queue, 16 * sizes.batch),
        workers=sizes.workers,
        warm_up=sizes.warm_up,
        steps=sizes.steps,
        repeats=sizes.repeats,
        images=part.images,
    )
    return given
