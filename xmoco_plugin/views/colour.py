# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Colours of a batch, RGB in [0, 255], with parameters of each image's own.

Of one image, these are torchvision's functional operations on floats.
"""

import numpy as np
import torch

from .parameters import CONTRAST, HUE, SATURATION
from .resample import upload

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's "L"


def luma(x: torch.Tensor) -> torch.Tensor:
    """(n, 3, h, w) RGB -> (n, 1, h, w)."""
    red, green, blue = x.split(1, dim=1)
    return (LUMA[0] * red).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def shift_hue(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Turn the hue of the HSV hexcone, keeping saturation and value.

    Args:
        x: (n, 3, h, w) RGB. turns: (n,) in [-0.5, 0.5].
    """
    red, green, blue = x.split(1, dim=1)
    value, low = x.amax(dim=1, keepdim=True), x.amin(dim=1, keepdim=True)
    chroma = value - low
    scale = torch.where(chroma > 0, chroma, 1)
    sextant = torch.where(
        value == red,
        (green - blue) / scale,
        torch.where(value == green, (blue - red) / scale + 2, (red - green) / scale + 4),
    )
    sextant = sextant + 6 * turns[:, None, None, None]
    # Red, green and blue fall short of the value by one piecewise linear function, each of the hue
    # as seen from its own place on the circle.
    position = torch.cat([sextant + place for place in (5, 3, 1)], dim=1).remainder_(6)
    return value - chroma * torch.minimum(position, 4 - position).clamp_(0, 1)


def jitter(x: torch.Tensor, order: np.ndarray, factors: np.ndarray) -> torch.Tensor:
    """Brightness, contrast, saturation and hue of each image in its own order.

    The first three mix the image with black, its mean grey, or its greys; so one pass does for all
    images what comes first, second, ... in each. The hue is turned only where it is its turn.

    Args:
        x: (n, 3, h, w); may be written to. order, factors: (n, 4), as in ``ViewParameters``.
    """
    images = np.arange(len(order))
    for step in order.T:  # (n,)
        factor = np.where(step == HUE, 1.0, factors[images, step])
        if (factor != 1).any():
            table = np.stack(
                [factor, (1 - factor) * (step == CONTRAST), (1 - factor) * (step == SATURATION)]
            )
            keep, to_mean, to_grey = upload(table, x.device, torch.float32)[..., None, None, None]
            grey = luma(x)
            other = to_grey * grey + to_mean * grey.mean(dim=(2, 3), keepdim=True)
            x = torch.addcmul(other, x, keep).clamp_(0, 255)
        turned = np.flatnonzero((step == HUE) & (factors[:, HUE] != 0))
        if len(turned):
            rows = upload(turned, x.device)
            turns = upload(factors[turned, HUE], x.device, torch.float32)
            x.index_copy_(0, rows, shift_hue(x.index_select(0, rows), turns))
    return x


def solarize(x: torch.Tensor, threshold: float) -> torch.Tensor:
    """Invert the values from the threshold up."""
    return torch.where(x >= threshold, 255 - x, x)
