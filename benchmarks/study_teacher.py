# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of study.py: a frozen teacher, by the pieces that `xmoco pretrain --teacher` is made of."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import MODELS

from xmoco_plugin import teachers
from xmoco_plugin.checkpoint import CheckpointError, write_text
from xmoco_plugin.teachers.from_config import open_teacher
from xmoco_plugin.teachers.lesson import FEATURES, FILE
from xmoco_plugin.teachers.preparing import SAMPLE, prepare_lesson

FACTS = "teacher.json"
JUDGED = 2000  # test images that the teacher itself is asked for: a point of standard error
RELATION = dict(relation=dict(loss_weight=1.0))
COSINE = dict(relation=None, cosine=dict(loss_weight=1.0))
BOTH = RELATION | dict(cosine=COSINE["cosine"])
# Reading: options of TeacherHead, whose weights --weight multiplies.
READINGS: dict[str, dict] = {
    "teacher-relation": RELATION,
    "teacher-cosine": COSINE,
    "teacher-consistency": dict(relation=None, consistency=dict(loss_weight=1.0)),
    "teacher+moco": RELATION,
    "teacher-both": BOTH,
    "teacher-crop": RELATION,
    "teacher-crop-cosine": COSINE,
    "teacher-crop-both": BOTH,
}
OWN_CROP = "teacher-crop"  # asked for each of the student's crops, not once for each image
BESIDE_MOCO = "teacher+moco"  # InfoNCE with weight 1 beside the relation


@dataclasses.dataclass(frozen=True)
class Teaching:
    """What the runs of a study have of their teacher.

    Args:
        bank: its keys of the training images, by their places.
        ask: images (n, 3, H, W) RGB in 0..255 -> their keys (n, dims).
        dims: of a key.
        facts: its name, size and cost, as teacher.json has them.
    """

    bank: teachers.KeyBank
    ask: Callable[[torch.Tensor], torch.Tensor]
    dims: int
    facts: dict

    def cost_of(self, reading: str) -> dict:
        """The facts, with what was asked before the training: a sample does for OWN_CROP."""
        sample = min(1, SAMPLE / self.facts["images"])
        share = sample if reading.startswith(OWN_CROP) else 1
        return self.facts | {
            name: round(share * self.facts[name], 1) for name in ("cpu_seconds", "seconds")
        }


class Teacher:
    """The network of --teacher, and how it is asked for images of a study.

    Args:
        file, network, size: --teacher, --teacher-model and --teacher-size.
        images: uint8 (N, 3, H, W) RGB, of the training.
        device: of the network.

    Raises:
        SystemExit: it cannot be used.
    """

    def __init__(
        self, file: str, network: str | None, size: int, images: torch.Tensor, device: str
    ) -> None:
        try:
            self.source = open_teacher(file, network)
            asked = self.source.frozen(size)
        except (CheckpointError, teachers.TeacherError) as error:
            raise SystemExit(f"--teacher {file}: {error}") from None
        self.network, self.device, self.images = asked.to(device), device, images
        self.network.in_bfloat16(device)  # as the product asks it
        self.belongs = teachers.Belongs(
            images=len(images),
            width=self.network.width(),
            teacher=self.source.digest,
            name=self.source.name,
            size=size,
            data=hashlib.sha256(images.contiguous().numpy()).hexdigest()[:32],
        )

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(N, E) float32 on the CPU, of uint8 (N, 3, H, W) RGB."""
        return torch.cat([self.network(x.to(self.device)).cpu() for x in images.split(64)])

    def ask_all(self, folder: Path) -> None:
        """Has the features of all training images stored, and what that cost written down.

        A pass that was stopped goes on; its cost is that of the rest, scaled to all images.

        Raises:
            SystemExit: they are stored already, and nothing says what they have cost.
        """
        asked = 0

        def ask(batches: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
            nonlocal asked
            for places in batches:
                asked += len(places)
                yield self.features(self.images[list(places)])

        clock, cpu = time.perf_counter(), time.process_time()
        projection = prepare_lesson(folder, self.source, ask, self.belongs)
        spent = (time.process_time() - cpu, time.perf_counter() - clock)
        if not asked:
            raise SystemExit(
                f"{folder / FEATURES} is complete and {FACTS} is gone, which says what it cost: "
                "remove it to have it made anew."
            )
        scale = len(self.images) / asked
        facts = dict(
            name=self.source.name,
            size=self.belongs.size,
            images=len(self.images),
            width=self.belongs.width,
            variance_kept=round(projection.kept, 4),
            cpu_seconds=round(scale * spent[0], 1),
            seconds=round(scale * spent[1], 1),
        )
        write_text(folder / FACTS, json.dumps(facts, indent=1))

    def taught(self, folder: Path) -> Teaching:
        """What :meth:`ask_all` has left.

        Raises:
            SystemExit: it is of another teacher, size or set.
        """
        try:
            stored = teachers.StoredFeatures(folder / FEATURES, self.belongs)
            lesson = teachers.read_lesson(folder / FILE)
            keys = stored.project(lesson.projection.__call__)
        except (CheckpointError, teachers.TeacherError) as error:
            raise SystemExit(str(error)) from None
        facts = json.loads((folder / FACTS).read_text())
        network = self.network

        def ask(pixels: torch.Tensor) -> torch.Tensor:
            return lesson.projection(network(pixels))

        return Teaching(teachers.KeyBank(keys), ask, keys.shape[1], facts)

    def stored_features(self, folder: Path) -> torch.Tensor:
        """(N, E) float32 of the training images, in their order."""
        stored = teachers.StoredFeatures(folder / FEATURES, self.belongs)
        return stored.project(lambda features: features).float()


def model_of(moco: dict, reading: str, weight: float, dims: int, backbone: dict) -> dict:
    """Config of the student that one reading makes of MoCo's model.

    Args:
        moco: config of ``XMoCo``.
        reading: key of ``READINGS``.
        weight: multiplies the weights of its terms.
        dims: of the teacher's keys.
        backbone: its config without a momentum encoder; nothing gives an image's own key away
            then, so that its norm needs no parts.
    """
    if reading == BESIDE_MOCO:
        return moco | dict(
            type="TaughtXMoCo",
            teacher_neck=dict(moco["neck"], out_channels=dims),
            teacher_head=head_of(reading, weight),
            teacher_dims=dims,
            num_keys=moco["queue_len"],
        )
    return dict(
        type="TeacherContrast",
        backbone=backbone,
        neck=dict(moco["neck"], out_channels=dims),
        head=head_of(reading, weight),
        feat_dim=dims,
        num_keys=moco["queue_len"],
        own_crop=reading.startswith(OWN_CROP),
        data_preprocessor=moco["data_preprocessor"],
        _scope_="mmpretrain",
    )


def head_of(reading: str, weight: float) -> dict:
    """Config of ``TeacherHead``."""
    options = {
        name: None if value is None else dict(value, loss_weight=weight * value["loss_weight"])
        for name, value in READINGS[reading].items()
    }
    return dict(type="TeacherHead", **options)


def build(config: dict, teaching: Teaching) -> BaseSelfSupervisor:
    """The student, with its teacher's keys; without MoCo it sees the first view of a pair alone."""
    model = MODELS.build(config)
    model.bank = teaching.bank
    views = model.data_preprocessor

    def ask(student: torch.Tensor) -> torch.Tensor:
        return teaching.ask(student * views.std + views.mean)

    if model.own_crop:
        model.ask = ask
    if config["type"] == "TeacherContrast":
        # The first view is drawn first: its draws are MoCo's of the same seed.
        model.data_preprocessor.recipes = model.data_preprocessor.recipes[:1]
    return model
