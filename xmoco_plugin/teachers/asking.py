# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Shows a teacher the images of a set, each whole and without augmentation."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from .network import FrozenTeacher
from .stored import Ask

READ_AS = ("bit_depth", "background", "max_pixels", "max_bytes")  # decide over pixels or refuse


def reading(pipeline: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How a training pipeline reads its files, of :data:`READ_AS`; what it does not say is left."""
    steps = (step for step in pipeline if str(step.get("type")).endswith("LoadImageOrSkip"))
    reader = next(steps, {})
    return {key: reader[key] for key in READ_AS if reader.get(key) is not None}


def teacher_pipeline(size: int, trained: Sequence[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """Transforms from a file to what a teacher is shown: the largest square in the middle.

    Args:
        size: Its side, in pixels.
        trained: The training's pipeline, as which files are read.
    """
    return [
        dict(type="LoadImageOrSkip", on_error="raise", **reading(trained)),
        dict(type="ResizeEdge", scale=size, edge="short", backend="pillow"),
        dict(type="CenterCrop", crop_size=size),
        dict(type="PackInputs", meta_keys=()),
    ]


class _Pixels(Dataset):
    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int) -> torch.Tensor:
        return self.dataset[place]["inputs"]


def asker(network: FrozenTeacher, dataset: Any, workers: int, device: str | torch.device) -> Ask:
    """What :meth:`StoredFeatures.fill` asks; in bfloat16, where the device multiplies in it.

    Args:
        network: On the device.
        dataset: Whose samples have ``inputs``, (3, H, W) uint8 BGR, of one size.
        workers: Processes that read images.
        device: Of the network.
    """

    network.in_bfloat16(device)

    def ask(batches: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
        if not batches:
            return
        loader = DataLoader(_Pixels(dataset), batch_sampler=list(batches), num_workers=workers)
        for pixels in loader:
            yield network(pixels.to(device, non_blocking=True).flip(1))

    return ask
