# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a teacher and the student's start know of the images, before the hours are spent."""

import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS, MODELS
from rich.console import Console
from rich.table import Table
from torch.utils.data import DataLoader, Subset

from xmoco_plugin import pretraining as own
from xmoco_plugin import teachers
from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.data import channel_reading, limit_pixels, read_channels
from xmoco_plugin.data.labelled_sets import pick_channels, set_bit_depth, training_bit_depth
from xmoco_plugin.evaluation.features import (
    Embed,
    ModelEmbedder,
    collect_features,
    embed_pixels,
    evaluation_mode,
)
from xmoco_plugin.teachers.asking import Shown, put_together, teacher_pipeline
from xmoco_plugin.teachers.channels import in_order
from xmoco_plugin.teachers.judgement import LOOKED_AT
from xmoco_plugin.untrusted import printable
from xmoco_plugin.views import build_recipes

LABELLED = (20_000, 10_000)  # images that kNN compares with and classifies, at most
NEIGHBOURS = 20
RAW_SIZE = 32  # px that raw pixels are compared at


class Judged:
    """Figures of teacher, start and raw pixels, and the verdict on them.

    Args:
        network: The teacher.
        labels: Folder of labelled images, if any.
        cfg: Of the run.
        images: As the student is shown them.
        workers: Processes that read images.
        features: The teacher's, of a sample.
        shown: Channels that the teacher sees of images of many.
    """

    def __init__(
        self,
        network: teachers.FrozenTeacher,
        labels: str | None,
        cfg: Config,
        images: Any,
        workers: int,
        features: torch.Tensor,
        shown: tuple[int, ...] = (),
    ) -> None:
        size = view_size(cfg)
        student = _student(cfg)
        embed = ModelEmbedder(student, unit=False)
        order = teachers.computing_order(len(images), as_listed(images))
        batches = DataLoader(
            Subset(Shown(images), order[:LOOKED_AT]),  # type: ignore[arg-type]
            64,
            num_workers=workers,
            collate_fn=put_together,
        )
        with evaluation_mode(student):
            begins = torch.cat(
                [
                    embed(dict(inputs=batch.pixels, data_samples=[]))[0].cpu()
                    for batch in batches
                    if len(batch.pixels)
                ]
            )
            asked: tuple[float | None, ...] = (None, None, None)
            self.images = 0
            if labels:
                ask: Embed = lambda batch: (  # noqa: E731
                    network(torch.stack(list(batch["inputs"])).to(get_device()).flip(1)),
                    batch["data_samples"],
                )
                seen = ((ask, network.size, shown), (embed, size, ()), (embed_pixels, RAW_SIZE, ()))
                asked = tuple(self._knn(labels, s, f, workers, cfg, of) for f, s, of in seen)
        self.teacher = teachers.figures(features, asked[0])
        self.start = teachers.figures(begins, asked[1])
        self.pixels = asked[2]
        self.verdict = teachers.judge_teacher(self.teacher, self.start, self.pixels, self.images)

    def _knn(
        self,
        labels: str,
        size: int,
        embed: Embed,
        workers: int,
        cfg: Config,
        shown: tuple[int, ...],
    ) -> float:
        parts, root = [], str(Path(labels).expanduser().resolve())
        for settings, most in zip(own.knn_sets(root, size), LABELLED, strict=True):
            limit_pixels(settings, cfg.train_dataloader.dataset.pipeline[0].get("max_pixels"))
            set_bit_depth(settings, training_bit_depth(cfg))
            read_channels(settings, channel_reading(cfg))
            if shown:  # last first, as of pictures, which are BGR
                pick_channels(settings, in_order(shown)[::-1])
            data: Any = DATASETS.build(settings)
            if len(data) > most:
                data = Subset(data, torch.linspace(0, len(data) - 1, most).long().tolist())
            loader = DataLoader(data, 64, num_workers=workers, collate_fn=default_collate)
            parts.append(collect_features(loader, embed, device="cpu"))
        bank, queries = parts
        self.images = len(queries.labels)
        return teachers.knn_accuracy(
            bank.features, bank.labels, queries.features, queries.labels, NEIGHBOURS
        )


def show(judged: Judged, projection: teachers.Projection, name: str) -> None:
    table = Table("before training", "teacher", "start", "raw pixels", box=None, pad_edge=False)
    teacher, start = judged.teacher, judged.start
    if teacher.knn is not None:
        values = (teacher.knn, start.knn, judged.pixels)
        table.add_row(f"kNN of {judged.images:,} images", *(f"{v:.1f} %" for v in values))
    table.add_row("effective rank", f"{teacher.rank:.0f}", f"{start.rank:.0f}", "")
    table.add_row(
        "similarity of two images", f"{teacher.similarity:.3f}", f"{start.similarity:.3f}", ""
    )
    Console(soft_wrap=True, width=None if sys.stdout.isatty() else 160).print(table)
    dims = projection.basis.shape[1]
    print(
        f"{printable(name)}: {dims} dimensions keep {projection.kept:.1%} of the variance; 95 % "
        f"take {projection.dims_for():,}",
        flush=True,
    )


def _student(cfg: Config) -> Any:
    """The student as it starts, on the device."""
    model: Any = MODELS.build({"data_preprocessor": cfg.get("data_preprocessor"), **cfg.model})
    if cfg.get("load_from"):
        state = read_checkpoint(cfg.load_from)["state_dict"]
        model.load_state_dict(state, strict=False)
    else:
        log = MMLogger.get_current_instance()
        level = log.level
        log.setLevel("WARNING")  # the host says of each weight how it is drawn
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(cfg.randomness.seed)
            model.init_weights()
        log.setLevel(level)
    return model.to(get_device())


def view_size(cfg: Config) -> int:
    (step,) = (s for s in cfg.train_dataloader.dataset.pipeline if "views" in s)
    return build_recipes(step.views)[0].shape[0]  # weak keys have views of their own


def listed(folder: Path, size: int, cfg: Config, shown: tuple[int, ...] = ()) -> Any:
    """The images of a run, whole and without augmentation, as squares of ``size`` pixels.

    Of many channels those that are shown, see :func:`teacher_pipeline`.
    """
    settings = cfg.train_dataloader.dataset
    pipeline = teacher_pipeline(size, settings.pipeline, shown)
    if settings.get("type") == "ShardedImages":
        return DATASETS.build({**settings, "pipeline": pipeline})
    return DATASETS.build(
        dict(type="ListedImages", ann_file=str(folder / "files.txt"), pipeline=pipeline)
    )


def as_listed(images: Any) -> bool:
    """Whether a set is asked in its own order; see :func:`teachers.computing_order`."""
    return getattr(images, "begins_with_sample", False)
