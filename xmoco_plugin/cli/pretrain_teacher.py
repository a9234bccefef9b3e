# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The teacher of a pretraining: found, its licence shown, judged, asked once for each image."""

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from rich.console import Console
from rich.progress import Progress

from xmoco_plugin import pretraining as own
from xmoco_plugin import teachers
from xmoco_plugin.checkpoint import CheckpointError, read_checkpoint
from xmoco_plugin.cli.teacher_channels import about_channels, named_channels, numbers_of, seen_by
from xmoco_plugin.cli.teacher_figures import Judged, as_listed, listed, show, view_size
from xmoco_plugin.teachers.asking import AskingCost, asker, asking_cost
from xmoco_plugin.teachers.preparing import prepare_lesson
from xmoco_plugin.untrusted import printable
from xmoco_plugin.weights import shown_url

SIZES = {True: 224, False: 96}  # px that a teacher sees: with a GPU, without (ours)


def check(args: argparse.Namespace) -> list[str]:
    """What is wrong with the options of the teacher, a sentence each; fetches nothing."""
    if not args.teacher:
        return []
    try:
        if teachers.looks_like_a_file(args.teacher):
            if args.teacher_model:
                _settings(args.teacher_model)
            if not Path(args.teacher).expanduser().exists():
                return [f"--teacher: {teachers.no_file(args.teacher)}"]
            read_checkpoint(args.teacher, mmap=True)
        elif args.teacher_model:
            return [
                "--teacher-model: it says which network is in a file, and --teacher "
                f"{printable(args.teacher)} is none."
            ]
        else:
            teachers.offer_of(args.teacher)
    except (CheckpointError, teachers.TeacherError) as error:
        return [f"--teacher: {error}".replace("--teacher: --teacher", "--teacher")]
    return []


def alone(args: argparse.Namespace) -> bool:
    """Whether a run learns from a teacher and has no momentum encoder."""
    return bool(args.teacher) and "teacher_beside_moco" not in args.given


def begin(args: argparse.Namespace, given: dict[str, Any], found: own.Scan) -> "Teaching | None":
    """The teacher of a new run; None where the command names none.

    Raises:
        PretrainError: It was not agreed to fetch it.
        CheckpointError, TeacherError: It cannot be used.
    """
    if not args.teacher:
        return None
    named = named_channels(given, found)  # before anything is fetched
    source, fixed = _source(args)
    for note in source.notes():
        print(f"teacher: {note}", flush=True)
    patch = teachers.patch_size(source.backbone) or 1
    usual = SIZES[get_device() != "cpu"]
    size = given.get("teacher_size") or fixed or max(round(usual / patch), 1) * patch
    shown: tuple[int, ...] = ()
    if found.channels:
        takes = teachers.first_channels(source.backbone)
        shown = teachers.channels_shown(named, found.channels.number, takes)
        source = seen_by(source, shown, found.channels.plan(found.given_depth))
    network = source.frozen(size, found.channels is None).to(get_device())
    return Teaching(args, found, source, network, shown)


class Teaching:
    """What a run has of its teacher.

    Args:
        args: Of the command line.
        found: The images.
        source, network: The teacher, on the device.
        shown: Channels that it sees of images of many.

    Attributes:
        adds: To a step, an image; nothing where its features are stored.
        notes: What is said of it, in lines.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        found: own.Scan,
        source: teachers.Source,
        network: teachers.FrozenTeacher,
        shown: tuple[int, ...] = (),
    ) -> None:
        self.args, self.source, self.network, self.shown = args, source, network, shown
        self.own_crop = args.teacher_views == "crop"
        self.beside = args.given.get("teacher_beside_moco")
        plan = found.channels.plan(found.given_depth) if found.channels else None
        known_by = [found.digest] if found.digest else found.digests
        self.belongs = teachers.Belongs(
            images=len(found.good) if found.total is None else found.total,
            width=network.width(),
            teacher=source.digest,
            name=source.name,
            size=network.size,
            data=teachers.data_digest(known_by, found.bit_depth, numbers_of(plan)),
            channels=teachers.as_text(shown),
        )
        self.dims = teachers.most_dims(
            self.belongs.width, min(self.belongs.images, teachers.SAMPLE)
        )
        # As it will be asked, which the step that is measured with noise for keys lacks.
        network.in_bfloat16(get_device())
        self.adds = AskingCost(0.0, 0)
        if self.own_crop:
            self.adds = asking_cost(network, get_device())
        colours = "BGR" if network.bgr else "RGB"
        if network.channels == 1:
            colours = "grey, made of the colours"
        if plan:
            colours = teachers.describe_channels(shown, plan.reading.channels, network.channels)
        note = (
            f"teacher: {printable(source.name)}, {self.belongs.width:,} numbers an image of "
            f"{network.size} px ({colours}), {self.dims} of them kept; "
            + (
                f"asked for each of the student's crops, {1000 * self.adds.seconds:.1f} ms each"
                if self.own_crop
                else f"stored once, {self.belongs.bytes / 1e6:,.1f} MB"
                + (", asked in bfloat16" if network.bfloat16 else "")
            )
        )
        more = about_channels(plan, shown, args.teacher_channels, source) if plan else ()
        self.notes = [note, *more]

    def model(self, chosen: own.Choices, outputs: Any, stand_in: bool = False) -> dict[str, Any]:
        """Config of the algorithm; with ``stand_in``, to measure a step."""
        sizes = (self.dims, self.own_crop, stand_in, self.beside)
        return own.teacher_model_config(chosen, outputs, *sizes)

    def costs(self, step: own.StepCost) -> own.StepCost:
        """A step's cost with the teacher's."""
        return step._replace(
            per_image=step.per_image + self.adds.memory,
            seconds_per_image=step.seconds_per_image + self.adds.seconds,
        )

    def configure(self, cfg: Config, chosen: own.Choices, outputs: Any) -> Config:
        """The run's config, of a student."""
        return own.with_teacher(cfg, self.model(chosen, outputs), not self.own_crop, None)

    def teach(self, cfg: Config, folder: Path, workers: int) -> None:
        """Judge the teacher, have its features stored, put its kNN into the config.

        Args:
            cfg: Of :meth:`configure`; changed.
            folder: Of the run.
            workers: Processes that read images.

        Raises:
            PretrainError: The teacher knows nothing of these images, and it was not agreed to go
                on all the same.
        """
        device = get_device()
        knn: list[float | None] = [None]

        def look(features: torch.Tensor, projection: teachers.Projection) -> None:
            student = listed(folder, view_size(cfg), cfg)
            seen = (self.args.labels, cfg, student, workers, features, self.shown)
            judged = Judged(self.network, *seen)
            knn[0] = judged.teacher.knn
            show(judged, projection, self.source.name)
            verdict = judged.verdict
            if verdict.knows is False:
                other = "" if self.args.init else ", or from weights of your own (--init),"
                _agree(
                    f"the teacher knows nothing of these images: {verdict.reason}. A run without "
                    f"--teacher{other} may do better",
                    "Train with it all the same?",
                    self.args.yes,
                )
            else:
                asked = "the teacher knows something of these images:"
                if verdict.knows is None:
                    asked = "does the teacher know anything of these images?"
                print(f"{asked} {verdict.reason}", flush=True)

        images = listed(folder, self.network.size, cfg, self.shown)
        ask = asker(self.network, images, workers, device, _tell)
        prepare_lesson(
            *(folder, self.source, ask, self.belongs, self.own_crop, self.dims, look),
            progress=_progress("asking the teacher"),
            as_listed=as_listed(images),
        )
        cfg.custom_hooks[-1].knn = knn[0]


def _source(args: argparse.Namespace) -> tuple[teachers.Source, int | None]:
    """The teacher, and the one size of images that it takes, if there is but one."""
    if teachers.looks_like_a_file(args.teacher):
        if not args.teacher_model:
            return teachers.open_file(args.teacher), None
        settings, usual = _settings(args.teacher_model)
        return teachers.open_file(args.teacher, settings, usual=usual), None
    offer = teachers.offer_of(args.teacher)
    print(offer.describe(), flush=True)
    if not offer.place.is_file():
        _agree(
            f"{offer.place} is not there; it can also be put there by hand",
            "Fetch it?",
            args.yes,
        )
    try:
        offer.get()
    except CheckpointError as error:
        raise own.PretrainError(
            f"{error} Fetch {shown_url(offer.url)} where there is a network and put it to "
            f"{offer.place}, or name it: --teacher FILE --teacher-model {args.teacher}"
        ) from None
    return offer.open(), offer.size


def _settings(name: str) -> tuple[dict[str, Any], teachers.Inputs]:
    """Config of the network that --teacher-model names, and what its weights usually take.

    Raises:
        TeacherError: Neither library has it.
    """
    try:
        return teachers.network_of(name)
    except teachers.TeacherError:
        pass
    try:
        return own.backbone_config(name, SIZES[True], 1), teachers.IMAGENET
    except own.PretrainError:
        raise teachers.TeacherError(
            f"--teacher-model {printable(name)}: {teachers.neither('such network')}"
        ) from None


def _agree(text: str, question: str, yes: bool) -> None:
    """Ask whether to go on.

    Raises:
        PretrainError: No, or there is nobody to ask and no --yes.
    """
    if yes:
        print(f"{text}. Going on: --yes", flush=True)
        return
    if not (sys.stdin is not None and sys.stdin.isatty()):
        raise own.PretrainError(f"{text}. {question} With --yes the command goes on.")
    print(f"{text}.", flush=True)
    try:
        answer = input(f"{question} [y/N] ")
    except EOFError:  # Ctrl-D is no yes
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise own.PretrainError("stopped: nothing was fetched or trained.")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _progress(what: str) -> Any:
    """A bar on a terminal, else a line at every tenth."""
    screen, tenth = Console(stderr=True), [-1]
    bar = Progress(console=screen, transient=True, disable=not screen.is_terminal)
    task = bar.add_task(what)

    def show(done: int, total: int) -> None:
        if screen.is_terminal:
            bar.start()
            bar.update(task, completed=done, total=total)
            if done >= total:
                bar.stop()
        elif 10 * done // max(total, 1) > tenth[0]:
            tenth[0] = 10 * done // max(total, 1)
            print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

    return show
