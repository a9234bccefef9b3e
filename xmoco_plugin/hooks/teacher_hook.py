# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..distributed import unwrapped
from ..log_detail import DETAIL
from ..teachers import KeyBank, StoredFeatures, TeacherError, as_pixels, read_lesson
from ..teachers.channels import from_text, in_order
from ..teachers.from_config import lesson_of_config
from ..teachers.lesson import FEATURES, FILE, Lesson
from ..untrusted import printable
from ..visualization import kept_randomness

STATE = "teacher"  # of this hook in the message hub: kNN of the student before training
PAUSE = 1.0  # seconds between two looks for the files that another process makes
PATIENCE = 60  # looks before it is said
ON_DEVICE = 0.1  # share of the device's free memory that the keys may take (ours)


@HOOKS.register_module()
class TeacherHook(Hook):
    """Hands ``TeacherContrast``, ``TaughtXMoCo`` a teacher; says how far the student has come.

    ``xmoco pretrain --teacher`` writes both files; where a config names a ``teacher``, they are
    made before the first step, and kept. With ``features`` the keys of all images are made of them;
    without, the teacher in ``file`` is asked in every step.
    After each validation the log says which share of the way from the untrained student to the
    teacher its kNN has gone.

    Args:
        file: of the teacher, 'teacher.pth' in the work dir by default.
        features: its stored features, or None to ask it in each step.
        knn: the teacher's own kNN on the images of the validation, percent; None: not known.
        metric: of the validation, percent.
        teacher: a checkpoint, or a name of mmpretrain or timm, where the files are to be made.
        teacher_size: side of the images that it sees, in pixels.
        network: which network is in the teacher's file, where that does not say.
        fetch: whether a named teacher's weights may be fetched, under their licence.
        channels: of images of many that the teacher is shown as red, green and blue, counted from
            1, or one as grey; default: the first three of 3 and of 4.

    Raises:
        TeacherError: a file that cannot be read, or belongs to other images or another teacher.
        TypeError: the model takes no teacher.
        ValueError: files of other names are to be made; channels of files that are there.
    """

    priority = "NORMAL"

    def __init__(
        self,
        file: str = FILE,
        features: str | None = FEATURES,
        knn: float | None = None,
        metric: str = "accuracy/top1",
        teacher: str | None = None,
        teacher_size: int = 224,
        network: str | None = None,
        fetch: bool = False,
        channels: Sequence[int] | None = None,
    ) -> None:
        if teacher is None and channels is not None:
            raise ValueError(
                f"TeacherHook(channels={channels!r}) names no teacher to be shown them: {file} "
                "says which channels it is of. Leave them out"
            )
        if teacher is not None and (file != FILE or features not in (FEATURES, None)):
            raise ValueError(
                f"TeacherHook(teacher=...) makes {FILE} and {FEATURES} in the work dir, and file "
                f"and features name others: {file}, {features}. Leave out those, or teacher"
            )
        self.teacher, self.teacher_size = teacher, teacher_size
        self.network, self.fetch, self.channels = network, fetch, channels
        self.file, self.features = file, features
        self.knn, self.metric = knn, metric
        self._training = False  # a validation or test may come without

    def before_train(self, runner: Runner) -> None:
        model: Any = unwrapped(runner.model)
        if not hasattr(model, "bank"):
            raise TypeError(
                "TeacherHook needs model.type='TeacherContrast' or 'TaughtXMoCo'; got "
                f"{type(model).__name__}"
            )
        device = next(model.parameters()).device
        folder = Path(runner.work_dir)
        if self.teacher is not None:
            with kept_randomness():  # whether the files are there or made, the run draws the same
                self._prepare(runner, folder, model, device)
        path = folder / Path(self.file).expanduser()
        if not path.is_file():
            raise TeacherError(
                f"{printable(path)} is not there: it says how keys are made of the teacher's "
                f"features. Copy it from the run whose config this is, with {FEATURES} if that run "
                "has one, or name a teacher to have both made: TeacherHook(teacher=...)"
            )
        lesson = read_lesson(path)
        _check_dims(lesson.projection.basis.shape[1], model, self.file)
        images = len(runner.train_dataloader.dataset)
        if self.features is not None:
            model.bank = self._bank(lesson, folder / Path(self.features).expanduser(), device)
            if len(model.bank) != images:
                raise ValueError(
                    f"{self.features} holds the features of {len(model.bank):,} images, the "
                    f"training set has {images:,}: they belong to another set"
                )
            what = f"{len(model.bank):,} stored keys on {model.bank.keys.device}"
        else:
            model.ask = _asking(lesson, model.data_preprocessor, device, self.file)
            what = f"asked in each step, at {lesson.belongs.size} px"
            what += " in bfloat16" if getattr(lesson.network, "bfloat16", False) else ""
        runner.logger.info(
            f"teacher: {lesson.belongs.name}, {what}, {model.teacher_dims} dimensions "
            f"({lesson.projection.kept:.1%} of the variance)",
            extra=DETAIL,
        )
        self._training = True

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        now = (metrics or {}).get(self.metric)
        if now is None or not self._training:
            return
        state = runner.message_hub.runtime_info.get(STATE)
        start = state.get("start") if isinstance(state, dict) else None
        if runner.iter == 0:
            runner.message_hub.update_info(STATE, {"start": float(now)})
        elif self.knn is not None and isinstance(start, float):
            runner.logger.info(f"teacher: {way_gone(float(now), start, self.knn)}")

    def after_train(self, runner: Runner) -> None:
        self._training = False

    def _prepare(self, runner: Runner, folder: Path, model: Any, device: torch.device) -> None:
        """Have the files made by the first process; no collective waits so long."""
        settings = runner.cfg.train_dataloader
        if is_main_process():
            lesson_of_config(
                folder,
                str(self.teacher),
                self.teacher_size,
                model.teacher_dims,
                settings.dataset,
                device,
                own_crop=self.features is None,
                network=self.network,
                fetch=self.fetch,
                channels=self.channels,
                preprocessor=model.data_preprocessor,
                workers=settings.get("num_workers", 0),
                say=runner.logger.info,
            )
        _wait_for(folder / FILE)

    @staticmethod
    def _bank(lesson: Lesson, path: Path, device: torch.device) -> KeyBank:
        if not path.is_file():
            raise TeacherError(
                f"{printable(path)} is not there: it holds the teacher's features of all images. "
                "Put it back, or start a run of its own: another --out"
            )
        keys = StoredFeatures(path, lesson.belongs).project(lesson.projection.__call__)
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
            if keys.numel() * keys.element_size() <= ON_DEVICE * free:
                keys = keys.to(device)
        return KeyBank(keys)


def _wait_for(file: Path) -> None:
    """Sleep until another process has made a file; after a minute each machine says so once."""
    looks = 0
    while not file.is_file():
        time.sleep(PAUSE)
        looks += 1
        if looks == PATIENCE and os.environ.get("LOCAL_RANK", "0") == "0":
            print(
                f"waiting for {printable(file)}, which the first process makes: all images are "
                "shown to the teacher. Machines that do not share this folder wait for ever",
                file=sys.stderr,
                flush=True,
            )


def way_gone(now: float, start: float, teacher: float) -> str:
    """Where the student's kNN is between its start and the teacher's, in words; all in percent."""
    said = f"kNN {now:.1f} %, {start:.1f} % before training, the teacher's {teacher:.1f} %"
    if teacher - start < 1:
        return f"{said}: the teacher is not ahead of the start"
    if now <= start:
        return f"{said}: none of the way"
    return f"{said}: {(now - start) / (teacher - start):.0%} of the way"


def _check_dims(dims: int, model: Any, file: str) -> None:
    """Raise ValueError unless the model takes keys of so many numbers."""
    if dims == model.teacher_dims:
        return
    names = "feat_dim and neck.out_channels"
    if hasattr(model, "teacher_neck"):
        names = "teacher_dims and teacher_neck.out_channels"
    raise ValueError(
        f"{file} makes keys of {dims} numbers, the model has {names.split()[0]}="
        f"{model.teacher_dims}: set {names} to {dims} (no more than the teacher's features have, "
        "or the images span)"
    )


def _asking(lesson: Lesson, preprocessor: Any, device: torch.device, file: str) -> Any:
    if lesson.network is None:
        raise ValueError(
            f"{file} holds no teacher to ask, only how its stored features are read: it is of a "
            "run with model.own_crop=False"
        )
    network = lesson.network.to(device)
    shown = in_order(from_text(lesson.belongs.channels)) if lesson.belongs.channels else ()
    network.in_bfloat16(device)

    def ask(views: torch.Tensor, places: bool = False) -> Any:
        pixels = as_pixels(views, preprocessor, shown)
        if not places:
            return lesson.projection(network(pixels))
        features, maps = network.with_places(pixels)
        return lesson.projection(features), lesson.projection.of_places(maps)

    return ask
