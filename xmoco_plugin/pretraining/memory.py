# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a training step takes of memory and time, measured on the model itself."""

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from mmengine.logging import MessageHub
from mmpretrain.registry import MODELS
from torch import nn

from .errors import PretrainError

STATES = 4  # copies of the trained weights: themselves, gradient, AdamW's two moments


class StepCost(NamedTuple):
    """Of one training step.

    Attributes:
        fixed: Bytes, whatever the batch.
        per_image: Bytes for each image (its two views).
        seconds_per_image: Time for each image, without the data.
        checkpoint: Bytes of a checkpoint: both encoders, the queue, AdamW's two moments.
    """

    fixed: int
    per_image: int
    seconds_per_image: float
    checkpoint: int

    def largest_batch(self, memory: float) -> int:
        """Images that fit into so many bytes; 0 where not even the weights do."""
        return max(int((memory - self.fixed) // max(self.per_image, 1)), 0)


def measure_step(
    model: dict[str, Any], size: int, device: torch.device, batch: int, channels: int = 3
) -> StepCost:
    """Train the model of a config for two steps on noise.

    On an accelerator the bytes are its allocator's peak, from a batch and half of it; on a CPU what
    the backward pass keeps, which is nearly all and does not depend on what else runs there.

    Args:
        model: Config with ``loss(inputs)`` of two views.
        size: Side of the views, in pixels.
        device: Where to.
        batch: Images, an even number.
        channels: Of the images.

    Raises:
        PretrainError: So many do not fit.
    """
    try:
        with _a_training_goes_on():
            return _measure(model, size, device, batch, channels)
    except torch.cuda.OutOfMemoryError as error:
        raise PretrainError(
            f"not even {batch} images of {size} px fit into the memory of {device}. Choose a "
            "smaller --image-size or --model, or free the device."
        ) from error
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()  # for the process that trains


@contextlib.contextmanager
def _a_training_goes_on() -> Iterator[None]:
    """Lets parts of a model find what the Runner tells them: how long its training is.

    MoCo v3's and BYOL's moving averages of the host follow a cosine over ``max_iters``.
    """
    hub = MessageHub.get_current_instance()
    told = {"iter": 0, "max_iters": 1000}
    before = {key: hub.runtime_info[key] for key in told if key in hub.runtime_info}
    for key in told.keys() - before.keys():
        hub.update_info(key, told[key])
    try:
        yield
    finally:
        for key in told.keys() - before.keys():
            hub.pop_info(key)


def _measure(
    model: dict[str, Any], size: int, device: torch.device, batch: int, channels: int
) -> StepCost:
    built = MODELS.build(model).to(device)
    trained = [p for p in built.parameters() if p.requires_grad]
    weights = sum(value.numel() * value.element_size() for value in built.state_dict().values())
    learnt = sum(p.numel() * p.element_size() for p in trained)
    states = weights + (STATES - 1) * learnt
    kept: dict[int, int] = {}
    own = {p.untyped_storage().data_ptr() for p in built.parameters()}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    # The first pays for what is set up once, so it is not timed.
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        _step(built, size, device, batch, channels)
    start = time.perf_counter()
    _step(built, size, device, batch, channels)
    seconds = time.perf_counter() - start
    if device.type == "cuda":
        peaks = []
        for images in (batch // 2, batch):
            torch.cuda.reset_peak_memory_stats(device)
            _step(built, size, device, images, channels)
            peaks.append(torch.cuda.max_memory_allocated(device))
        per_image = (peaks[1] - peaks[0]) // (batch - batch // 2)
        # The gradients are in the peak, the optimizer's state is not.
        fixed = peaks[1] - per_image * batch + 2 * learnt
    else:
        # Two views as they came, and as float32, beside what is kept.
        per_image, fixed = sum(kept.values()) // batch + 2 * channels * size * size * 5, states
    return StepCost(int(fixed), int(per_image), seconds / batch, weights + 2 * learnt)


def free_memory(device: torch.device) -> int:
    """Bytes that nobody uses, of the device or of the machine."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:  # what the kernel could give away, caches included; on Linux
        with open("/proc/meminfo") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _step(model: nn.Module, size: int, device: torch.device, batch: int, channels: int) -> None:
    views = [torch.randn(batch, channels, size, size, device=device) for _ in range(2)]
    losses = model.loss(views, None)
    sum(value for name, value in losses.items() if "loss" in name).backward()
    model.zero_grad(set_to_none=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
