# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Images of unlike sizes in one batch: one buffer of bytes from worker to device, no squashing."""

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from mmengine.registry import FUNCTIONS


@FUNCTIONS.register_module()
def ragged_collate(samples: Sequence[dict]) -> dict[str, Any]:
    """Collate what ``PackRaggedInputs`` packs.

    One tensor travels from a worker to the device, not one an image; ``pin_memory`` reaches it.

    Args:
        samples: dicts with ``inputs``, uint8 (H, W, 3) or the (bytes,) of a JPEG, and
            ``data_samples``.

    Returns:
        ``inputs``: ``pixels``, all bytes in one dimension, and ``sizes``, a (H, W) of each image
        or (bytes,) of each JPEG, which stays on the host; ``data_samples``, a list.

    Raises:
        ValueError: for inputs of another kind.
    """
    images = [sample["inputs"] for sample in samples]
    for image in images:
        if (
            not isinstance(image, torch.Tensor)
            or image.dtype != torch.uint8
            or not (image.ndim == 1 or (image.ndim == 3 and image.shape[2] == 3))
        ):
            found = (
                f"{image.dtype} of shape {tuple(image.shape)}"
                if isinstance(image, torch.Tensor)
                else f"a {type(image).__name__}"
            )
            raise ValueError(
                f"ragged_collate takes one uint8 image (H, W, 3) a sample, got {found}: end the "
                "pipeline with PackRaggedInputs, and make no views in it (no MultiView)"
            )
    return dict(
        inputs=dict(
            pixels=torch.cat([image.reshape(-1) for image in images]),
            sizes=[tuple(image.shape[:2]) for image in images],
        ),
        data_samples=[sample.get("data_samples") for sample in samples],
    )


def split_ragged(inputs: dict[str, Any]) -> list[torch.Tensor]:
    """The images (H, W, 3) and JPEGs (bytes,) in a batch of :func:`ragged_collate`; no copies."""
    shapes = [(*size, 3) if len(size) == 2 else size for size in inputs["sizes"]]
    parts = inputs["pixels"].split([prod(shape) for shape in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def image_sizes(images: Sequence[torch.Tensor] | torch.Tensor) -> list[tuple[int, int]]:
    """(H, W) of each image, of a list (H, W, 3) or a stack (n, H, W, 3)."""
    if isinstance(images, torch.Tensor):
        return [tuple(images.shape[1:3])] * len(images)
    return [tuple(image.shape[:2]) for image in images]


def pad_images(images: Sequence[torch.Tensor] | torch.Tensor) -> torch.Tensor:
    """(n, H, W, 3), each image at the top left of the smallest stack that holds them all."""
    if isinstance(images, torch.Tensor):
        return images.contiguous()
    if len({image.shape for image in images}) == 1:
        return torch.stack(list(images))
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    stack = images[0].new_zeros((len(images), height, width, 3))
    for place, image in zip(stack, images, strict=True):
        place[: image.shape[0], : image.shape[1]] = image
    return stack
