# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Shows a teacher the images of a set, each whole and without augmentation."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch.utils.data import DataLoader, Dataset

from ..untrusted import printable
from .channels import in_order
from .errors import TeacherError
from .network import FrozenTeacher
from .stored import Ask

Errors = type[Exception] | tuple[type[Exception], ...]
READ_AS = ("bit_depth", "background", "max_pixels", "max_bytes")  # decide over pixels or refuse
CHANNELS = "LoadChannelsOrSkip"
BAD_SHARE, BAD_COUNT = 0.01, 3  # of images: as the training's SkippedImagesHook lets pass


def reading(pipeline: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How a training pipeline reads its files, of :data:`READ_AS`; what it does not say is left."""
    steps = (step for step in pipeline if str(step.get("type")).endswith("LoadImageOrSkip"))
    reader = next(steps, {})
    return {key: reader[key] for key in READ_AS if reader.get(key) is not None}


def channel_step(pipeline: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The step of a pipeline that reads images of many channels; None where there is none."""
    steps = (step for step in pipeline if str(step.get("type")).endswith(CHANNELS))
    return next(steps, None)


def teacher_pipeline(
    size: int, trained: Sequence[Mapping[str, Any]] = (), shown: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """Transforms from a file to what a teacher is shown: the largest square in the middle.

    Args:
        size: Its side, in pixels.
        trained: The training's pipeline, as which files are read.
        shown: Channels of images of many, which come out last first, as BGR; default: all, as they
            are.
    """
    if (step := channel_step(trained)) is not None:
        picked = dict(picked=in_order(shown)[::-1]) if shown else {}
        return [
            {**step, "on_error": "raise", **picked},
            dict(type="ChannelCrop", size=size, short=size),
            dict(type="PackInputs", meta_keys=()),
        ]
    return [
        dict(type="LoadImageOrSkip", on_error="raise", **reading(trained)),
        dict(type="ResizeEdge", scale=size, edge="short", backend="pillow"),
        dict(type="CenterCrop", crop_size=size),
        dict(type="PackInputs", meta_keys=()),
    ]


class Shown(Dataset):
    """Pixels (3, H, W) of each image of a set, or why there are none, in words.

    Args:
        dataset: Whose samples have ``inputs``. Where not all its images were looked at before, its
            ``fails_with`` is the error of one that cannot be read.
        fails_with: That error, of a dataset which does not say so.
    """

    def __init__(self, dataset: Any, fails_with: Errors = ()) -> None:
        self.dataset = dataset
        self.fails_with = getattr(dataset, "fails_with", fails_with)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, place: int) -> torch.Tensor | str:
        try:
            return self.dataset[place]["inputs"]
        except self.fails_with as error:
            return str(error)


class Together(NamedTuple):
    """A batch.

    Attributes:
        pixels: (m, 3, H, W) of the images that can be read.
        rows: (n,) of each image of the batch, the row of `pixels` that stands for it: its own, or
            that of the last one before it that can be read; else of the first.
        reasons: Of those that cannot.
    """

    pixels: torch.Tensor
    rows: torch.Tensor
    reasons: list[str]


def put_together(samples: Sequence[torch.Tensor | str]) -> Together:
    """The collate function of :class:`Shown`."""
    pixels = [sample for sample in samples if isinstance(sample, torch.Tensor)]
    counts = torch.tensor([isinstance(sample, torch.Tensor) for sample in samples]).cumsum(0)
    reasons = [sample for sample in samples if isinstance(sample, str)]
    whole = torch.stack(pixels) if pixels else torch.empty(0, 3, 0, 0, dtype=torch.uint8)
    return Together(whole, (counts - 1).clamp(min=0), reasons)


def asker(
    network: FrozenTeacher,
    dataset: Any,
    workers: int,
    device: str | torch.device,
    say: Callable[[str], object] = lambda text: None,
    fails_with: Errors = (),
) -> Ask:
    """What :meth:`StoredFeatures.fill` asks; in bfloat16, where the device multiplies in it.

    An image that cannot be read gets the features of one beside it, so that a set keeps its places:
    training never asks for its key, and as one of many that others are compared with it is then a
    key like others.

    Args:
        network: On the device.
        dataset: Whose samples have ``inputs`` of one size, (3, H, W) uint8 BGR, or floats in 0..255
            of the channels that the network takes, last first; see :class:`Shown`.
        workers: Processes that read images.
        device: Of the network.
        say: Gets a line for each image that cannot be read.
        fails_with: See :class:`Shown`.
    """

    network.in_bfloat16(device)

    def ask(batches: Sequence[Sequence[int]]) -> Iterator[torch.Tensor]:
        if not batches:
            return
        loader = DataLoader(
            Shown(dataset, fails_with),
            batch_sampler=list(batches),
            num_workers=workers,
            collate_fn=put_together,
        )
        last, bad = torch.zeros(1, network.width(), device=device), 0
        for pixels, rows, reasons in loader:
            for reason in reasons:
                say(f"unreadable, and left out of the training: {printable(reason)}")
            bad += len(reasons)
            if bad > max(BAD_SHARE * len(dataset), BAD_COUNT):
                raise TeacherError(
                    f"{bad:,} of {len(dataset):,} images could not be read so far, more than "
                    f"{BAD_SHARE:.0%}: mend or remove them; a set of shards is then written anew"
                )
            if len(pixels):
                found = network(pixels.to(device, non_blocking=True).flip(1))
                last = found[-1:]
                yield found[rows.to(device)] if reasons else found
            else:  # a whole shard may be damaged
                yield last.expand(len(rows), -1)

    return ask


class AskingCost(NamedTuple):
    """What a teacher that is asked in each step adds to it, an image.

    Attributes:
        seconds: Of the device.
        memory: Bytes of a GPU, while it computes; of a CPU, whose memory is seldom short, 0.
    """

    seconds: float
    memory: int


def asking_cost(network: FrozenTeacher, device: str | torch.device, images: int = 8) -> AskingCost:
    """Asks a teacher for grey images.

    Args:
        network: On the device, as it will be asked.
        device: Of the network.
        images: Asked at once.
    """
    device = torch.device(device)
    sides = (images, network.shown, network.size, network.size)
    shown = torch.full(sides, 128.0, device=device)
    before = 0
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    began = time.perf_counter()
    network(shown).cpu()
    seconds = (time.perf_counter() - began) / images
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else before
    return AskingCost(seconds, (peak - before) // images)
