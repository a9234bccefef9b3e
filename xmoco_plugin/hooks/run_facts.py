# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math
from dataclasses import dataclass
from typing import Any

from mmengine.dist import get_world_size
from mmengine.model import BaseAveragedModel
from mmengine.optim import LinearLR
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn


@dataclass(frozen=True)
class RunFacts:
    """Numbers of a training run that is about to begin.

    Attributes:
        images: in the training set.
        classes: that the training set names; 0 where it has none.
        root: folder of the training set, as the config gives it.
        batch_size: images per process and iteration.
        processes: how many.
        accumulation: iterations per optimizer step.
        iters_per_epoch: of one process.
        last_batch: images of the last iteration of an epoch over all processes; the global batch
            where that is full, or where there are no epochs.
    """

    images: int
    classes: int
    root: str
    batch_size: int
    processes: int
    accumulation: int
    iters_per_epoch: int
    last_batch: int

    @classmethod
    def of(cls, runner: Runner) -> "RunFacts":
        """Read the numbers from a runner whose training loop is built."""
        loader = runner.train_dataloader
        dataset = loader.dataset
        batch_size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1
        processes = get_world_size()
        last = batch_size
        if isinstance(runner.train_loop, EpochBasedTrainLoop) and not loader.drop_last:
            last = len(loader.sampler) % batch_size or batch_size
        metainfo = getattr(dataset, "metainfo", None) or {}
        return cls(
            images=len(dataset),
            classes=len(metainfo.get("classes") or ()),
            root=str(getattr(dataset, "data_root", "") or getattr(dataset, "ann_file", "")),
            batch_size=batch_size,
            processes=processes,
            accumulation=getattr(runner.optim_wrapper, "_accumulative_counts", 1),
            iters_per_epoch=len(loader),
            last_batch=last * processes,
        )

    @property
    def global_batch(self) -> int:
        """Images of one iteration over all processes."""
        return self.batch_size * self.processes

    def describe_batch(self) -> str:
        """How the global batch comes about."""
        text = f"{self.processes} x {self.batch_size}"
        return f"{text} x {self.accumulation} accumulated" if self.accumulation > 1 else text

    def sentence(self) -> str:
        """The run in one line."""
        classes = f"{self.classes:,} classes" if self.classes else "no classes named"
        return (
            f"{self.images:,} images, {classes}; batch {self.global_batch:,} "
            f"({self.describe_batch()}), {self.iters_per_epoch:,} iterations an epoch"
        )


def momentum_encoder(model: nn.Module) -> tuple[tuple[nn.Module, nn.Module] | None, int]:
    """(Key encoder, query encoder) or None, and over how many optimizer steps it averages."""
    for average in model.children():
        if isinstance(average, BaseAveragedModel) and isinstance(average.module, nn.Sequential):
            pair = average.module, nn.Sequential(model.backbone, model.neck)
            return pair, math.ceil(1 / max(average.momentum, 1e-6))
    return None, 0


def warms_up(runner: Runner) -> bool:
    """Whether the learning rate still rises."""
    schedulers = runner.param_schedulers if isinstance(runner.param_schedulers, list) else []
    return any(_rises(scheduler) for scheduler in schedulers)


def _rises(scheduler: Any) -> bool:
    rises = isinstance(scheduler, LinearLR) and scheduler.start_factor < scheduler.end_factor
    return rises and scheduler.last_step < scheduler.end - 1
