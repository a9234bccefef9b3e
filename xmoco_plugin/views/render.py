# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Views of a batch of images from their parameters, on the images' device, free of its waiting."""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from .colour import jitter, luma, solarize
from .parameters import ViewParameters
from .ragged import image_sizes, pad_images
from .recipe import ViewRecipe
from .resample import blur, crop_resize, upload


@torch.no_grad()
def render_views(
    images: Sequence[torch.Tensor] | torch.Tensor,
    views: Sequence[tuple[ViewRecipe, ViewParameters]],
    bgr: bool = False,
    chunk_pixels: int = 2**24,
    dtype: torch.dtype = torch.float32,
) -> list[torch.Tensor]:
    """Apply the parameters of each view to every image.

    Args:
        images: N tensors (H_i, W_i, 3), or one (N, H, W, 3), uint8, on one device.
        views: recipe and parameters, of N images each.
        bgr: the images are BGR; the views are RGB in any case.
        chunk_pixels: crops are made of so many images at a time that their padded stack has no
            more pixels (or of one image): at most about 20 bytes of memory each.
        dtype: of the matrix products of the crops: float32 or float16.

    Returns:
        A tensor (N, 3, h, w) for each view, float32 in [0, 255], not rounded.
    """
    crops: list[list[torch.Tensor]] = [[] for _ in views]
    for chunk in _chunks(image_sizes(images), chunk_pixels):
        stack = pad_images(images[chunk])  # (n, H, W, 3)
        for parts, (recipe, parameters) in zip(crops, views, strict=True):
            box = upload(parameters.box[chunk], stack.device, torch.float32)
            flip = upload(parameters.flip[chunk], stack.device)
            parts.append(crop_resize(stack, box, flip, recipe.shape, recipe.interpolation, dtype))
    joined = [torch.cat(parts) for parts in crops]
    return [
        recolour(x.flip(1) if bgr else x, recipe, parameters)
        for x, (recipe, parameters) in zip(joined, views, strict=True)
    ]


def recolour(x: torch.Tensor, recipe: ViewRecipe, parameters: ViewParameters) -> torch.Tensor:
    """All that follows the crop, on (N, 3, h, w) RGB, which may be written to."""

    def grey(x: torch.Tensor) -> torch.Tensor:
        return _where(parameters.grey, x, lambda part: luma(part).expand_as(part))

    if recipe.grey_first:
        x = grey(x)
    x = jitter(x, parameters.order, parameters.factors)
    if not recipe.grey_first:
        x = grey(x)
    sigma = parameters.sigma[parameters.sigma > 0]
    x = _where(
        parameters.sigma > 0,
        x,
        lambda part: blur(part, upload(sigma, x.device, torch.float32), recipe.blur_sigma[1]),
    )
    return _where(parameters.solarize, x, lambda part: solarize(part, recipe.solarize_threshold))


def _where(applies: np.ndarray, x: torch.Tensor, transform: Callable) -> torch.Tensor:
    """The images of x, those transformed that the mask (N,) of the host names."""
    if not applies.any():
        return x
    rows = upload(np.flatnonzero(applies), x.device)
    return x.index_copy_(0, rows, transform(x.index_select(0, rows)))


def _chunks(sizes: Sequence[tuple[int, int]], pixels: int) -> list[slice]:
    """Runs of images whose common padded stack stays within so many pixels, or of one image."""
    chunks, start, height, width = [], 0, 0, 0
    for i, (h, w) in enumerate(sizes):
        height, width = max(height, h), max(width, w)
        if i > start and (i + 1 - start) * height * width > pixels:
            chunks.append(slice(start, i))
            start, height, width = i, h, w
    return [*chunks, slice(start, len(sizes))]
