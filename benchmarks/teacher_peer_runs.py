# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of teacher_peer.py: whole trainings by command, and lightly-train's steps, by processes."""

import argparse
import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from teacher_peer_nets import DIMS, FLOAT32, TEACHERS, wrapper_config, write_teacher

from xmoco_plugin import config_path

HERE = Path(__file__).resolve().parent
THEIRS = "lightly-train"
JPEGS = (".jpg", ".jpeg")


class Failed(Exception):
    """A process did not do what it should; the message is the end of what it said."""


class Trained(NamedTuple):
    """Rates of one training, in images a second of the clock or the processor.

    Attributes:
        rate: From the first step after those that warm up to the last.
        asked: Of the teacher's pass; None without one.
    """

    rate: float
    asked: float | None


def many_images(folder: Path, count: int, out: Path) -> Path:
    """So many files: the JPEGs of a folder, again and again under other names.

    Raises:
        ValueError: there is no JPEG.
    """
    found = sorted(f for f in folder.rglob("*") if f.suffix.lower() in JPEGS)
    if not found:
        raise ValueError(f"no .jpg or .jpeg in {folder}")
    out.mkdir(parents=True)
    for i, file in enumerate(itertools.islice(itertools.cycle(found), count)):
        target = out / f"{i:06d}.jpg"
        try:
            os.link(file.resolve(), target)
        except OSError:  # of another disk
            shutil.copyfile(file, target)
    return out


def provide_images(args: argparse.Namespace, out: Path) -> None:
    """As many files as a training needs; notes folder and number in the arguments."""
    wanted = (args.warm_up + args.steps) * args.batch
    # No queue of lightly-train's may be as long as the set.
    args.images_made = max(wanted, (args.queue // args.batch + 1) * args.batch)
    args.folder = many_images(args.images, args.images_made, out)


def environment(args: argparse.Namespace, peer: bool) -> dict[str, str]:
    """Of a process: what it finds, how many threads it takes; nothing is sent anywhere."""
    env = dict(os.environ, OMP_NUM_THREADS=str(args.threads), LIGHTLY_TRAIN_EVENTS_DISABLED="1")
    env.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    there = [str(HERE), *([] if peer else [str(HERE.parent)])]
    if peer and args.peer.is_dir():
        there.append(str(args.peer))
    env["PYTHONPATH"] = os.pathsep.join([*there, *filter(None, [env.get("PYTHONPATH")])])
    return env


def python_of(args: argparse.Namespace) -> str:
    """That has lightly-train: the one named, or this one with the folder named."""
    return sys.executable if args.peer.is_dir() else str(args.peer)


def version_of_peer(args: argparse.Namespace) -> str | None:
    """Version of lightly-train; None where it is not there, or cannot be imported."""
    if args.peer is None:
        return None
    code = "import lightly_train; print(lightly_train.__version__)"
    command = [python_of(args), "-c", code]
    env = environment(args, True)
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    words = done.stdout.split() if done.returncode == 0 else []
    return words[-1] if words else None


def order_of(args: argparse.Namespace, name: str, precision: str, device: str) -> dict[str, Any]:
    """What both kinds of process of lightly-train are told."""
    teacher = TEACHERS[name]
    return dict(
        teacher=teacher.theirs,
        queue=args.queue,
        batch=args.batch,
        size=args.size,
        device=device,
        precision=precision,
        threads=args.threads,
    )


@contextlib.contextmanager
def their_ways(
    args: argparse.Namespace, name: str, precision: str, device: str
) -> Iterator[dict[str, Any]]:
    """Steps of lightly-train; each runs one, in a process of its own, and returns its seconds.

    Raises:
        Failed: the process ended.
    """
    order = order_of(args, name, precision, device) | dict(methods=TEACHERS[name].methods)
    process = subprocess.Popen(
        [python_of(args), str(HERE / "teacher_peer_theirs.py"), json.dumps(order)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(args, True),
    )
    assert process.stdin is not None
    assert process.stdout is not None
    questions, answers = process.stdin, process.stdout

    def answer() -> Any:
        line = answers.readline()
        if not line:
            raise Failed(f"{THEIRS}'s steps ended with {process.wait()}")
        return json.loads(line)

    def ask(way: str) -> float:
        questions.write(json.dumps(way) + "\n")
        questions.flush()
        return answer()

    try:
        yield {way: (lambda way=way: ask(way)) for way in answer()}
    finally:
        with contextlib.suppress(OSError):  # it ended by itself
            questions.close()
        process.wait()
        answers.close()


def train_ours(
    args: argparse.Namespace, name: str, own_crop: bool, precision: str, device: str, out: Path
) -> Trained:
    """``xmoco train`` of the config of this teacher, in a folder that is not there.

    Raises:
        Failed: it did not train.
    """
    out.mkdir(parents=True)
    teacher = TEACHERS[name]
    weights = write_teacher(teacher, out / "random.pth")
    hook = dict(type="TeacherHook", teacher=str(weights), network=teacher.own)
    hook |= dict(teacher_size=args.size) | (dict(features=None) if own_crop else {})
    stamps: dict[str, Any] = dict(type="StepClockHook", file=str(out / "stamps.json"))
    stamps |= dict(steps=args.images_made // args.batch, warm_up=args.warm_up)
    stamps |= dict(float32=precision == FLOAT32)
    loader = dict(
        batch_size=args.batch,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        drop_last=True,
        dataset=dict(data_root=str(args.folder)),
    )
    dims = min(DIMS, args.images_made - 1)  # no more than the images span
    config = out / "config.py"
    config.write_text(
        f"_base_ = {str(config_path(teacher.config))!r}\n"
        'custom_imports = dict(imports=["xmoco_plugin", "teacher_peer_hook"])\n'
        f"custom_hooks = [*_base_.custom_hooks[:-1], {stamps!r}, {hook!r}]\n"
        f"model = dict(channels_last=True, num_keys={args.queue}, own_crop={own_crop}, "
        f"feat_dim={dims}, neck=dict(out_channels={dims}))\n"
        "train_pipeline = [_base_.train_pipeline[0], dict(type='OneView', views=dict("
        f"recipe='mocov2', size={args.size})), _base_.train_pipeline[2]]\n"
        f"train_dataloader = {loader!r}\n"
        "train_dataloader['dataset']['pipeline'] = train_pipeline\n"
        "train_cfg = dict(max_epochs=1)\n"
        f"optim_wrapper = dict(_delete_=True, **{wrapper_config(precision, device)!r})\n"
    )
    command = [sys.executable, str(HERE.parent / "xmoco.py"), "train", str(config)]
    command += ["--work-dir", str(out / "run")]
    return trained(command, environment(args, False), out, args, device)


def train_theirs(
    args: argparse.Namespace, name: str, method: str, precision: str, device: str, out: Path
) -> Trained:
    """``lightly_train.pretrain`` with a teacher of random weights.

    Raises:
        Failed: it did not train.
    """
    out.mkdir(parents=True)
    order = order_of(args, name, precision, device) | dict(
        method=method,
        out=str(out / "run"),
        data=str(args.folder),
        stamps=str(out / "stamps.json"),
        steps=args.images_made // args.batch,
        warm_up=args.warm_up,
        workers=args.workers,
    )
    command = [python_of(args), str(HERE / "teacher_peer_theirs.py"), json.dumps(order)]
    return trained(command, environment(args, True), out, args, device)


def trained(
    command: list[str], env: dict[str, str], out: Path, args: argparse.Namespace, device: str
) -> Trained:
    """Runs it to its end and reads what it wrote down."""
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=out)
    stamps = out / "stamps.json"
    if done.returncode or not stamps.is_file():
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise Failed(f"ended with {done.returncode}: {(said or ['it said nothing'])[-1][:300]}")
    found = json.loads(stamps.read_text())
    clock = clock_of(args, device)
    first, last = found[clock]
    steps = args.images_made // args.batch - args.warm_up
    asked = found["images"] / found[f"pass_{clock}"] if found.get("images") else None
    return Trained(steps * args.batch / (last - first), asked)


def clock_of(args: argparse.Namespace, device: str) -> str:
    """Whose seconds are told: the processor's, where one thread of one process does all."""
    return "cpu" if device == "cpu" and args.threads == 1 and args.workers == 0 else "wall"
