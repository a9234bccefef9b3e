# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Crops, resizing, mirroring and blur as products with one pair of small matrices an image."""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

BLUR_REACH = 4  # standard deviations; beyond lie less than 1e-4 of a Gaussian


def _triangle(x: torch.Tensor) -> torch.Tensor:
    return (1 - x.abs()).clamp_(min=0)


def _cubic(x: torch.Tensor) -> torch.Tensor:
    """Keys' cubic with a = -1/2, as Pillow and antialiasing torch have it."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, far * (x < 2))


KERNELS: dict[str, Callable] = {"bilinear": _triangle, "bicubic": _cubic}


def upload(array: np.ndarray, device: torch.device, dtype: torch.dtype | None = None):
    """A small array of the host on the device, without waiting for it."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    tensor = tensor if dtype is None else tensor.to(dtype)
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def resize_matrices(
    start: torch.Tensor,
    length: torch.Tensor,
    flip: torch.Tensor,
    size_in: int,
    size_out: int,
    interpolation: str = "bilinear",
) -> torch.Tensor:
    """One axis of crop, antialiased resize and mirroring, as Pillow weights the pixels.

    Args:
        start, length: (n,) float, the crop's first pixel and extent; length >= 1.
        flip: (n,) bool, mirror this axis.
        size_in: pixels of the padded image along this axis.
        size_out: pixels of the view.
        interpolation: 'bilinear' or 'bicubic'.

    Returns:
        (n, size_out, size_in), rows of sum 1, zero outside the crop.
    """
    device = start.device
    out = torch.arange(size_out, device=device)
    out = torch.where(flip[:, None], size_out - 1 - out, out)  # (n, size_out)
    scale = length / size_out  # (n,)
    centre = (out + 0.5) * scale[:, None] + start[:, None]  # in the image, edges at integers
    pixel = torch.arange(size_in, device=device) + 0.5
    reach = scale.clamp(min=1)[:, None, None]
    weights = KERNELS[interpolation]((pixel - centre[:, :, None]) / reach)
    inside = (pixel > start[:, None]) & (pixel < (start + length)[:, None])  # (n, size_in)
    weights = weights * inside[:, None]
    return weights / weights.sum(dim=2, keepdim=True)


def crop_resize(
    images: torch.Tensor,
    box: torch.Tensor,
    flip: torch.Tensor,
    shape: tuple[int, int],
    interpolation: str = "bilinear",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """A crop of each image, resized to one shape: out = A_y . image . A_x^T.

    Args:
        images: (n, H, W, 3) uint8; what is outside a box may be padding.
        box: (n, 4) float: top, left, height, width.
        flip: (n,) bool, mirror from left to right.
        shape: (h, w) of the views.
        dtype: of the products. float32 products follow ``torch.set_float32_matmul_precision``.

    Returns:
        (n, 3, h, w) float32 in [0, 255], not rounded.
    """
    n, height, width, _ = images.shape
    top, left, box_height, box_width = box.unbind(dim=1)
    unflipped = torch.zeros_like(flip)
    rows = resize_matrices(top, box_height, unflipped, height, shape[0], interpolation)
    columns = resize_matrices(left, box_width, flip, width, shape[1], interpolation)
    x = images.to(dtype).view(n, height, width * 3)
    x = torch.bmm(rows.to(dtype), x).view(n, shape[0], width, 3)
    x = x.transpose(2, 3).reshape(n, shape[0] * 3, width)
    x = torch.bmm(x, columns.to(dtype).transpose(1, 2)).view(n, shape[0], 3, shape[1])
    # The cubic overshoots where Pillow's bytes saturate.
    return x.transpose(1, 2).float().clamp_(0, 255)


def blur(x: torch.Tensor, sigma: torch.Tensor, max_sigma: float) -> torch.Tensor:
    """Gaussian blur with a standard deviation an image; the border's pixels go on outside.

    Args:
        x: (n, 3, h, w). sigma: (n,) > 0, in pixels. max_sigma: at least the largest of them.
    """
    reach = int(BLUR_REACH * max_sigma + 0.5)
    x = F.pad(x, (reach,) * 4, mode="replicate")
    tap = torch.arange(-reach, reach + 1, device=x.device)
    weights = torch.exp(-0.5 * (tap / sigma[:, None]).square())  # (n, taps)
    weights = weights / weights.sum(dim=1, keepdim=True)

    def band(size: int) -> torch.Tensor:
        distance = torch.arange(size + 2 * reach, device=x.device) - torch.arange(
            size, device=x.device
        ).unsqueeze(1)  # (size, size + 2 reach): which tap, if it is one
        is_tap = (distance >= 0) & (distance <= 2 * reach)
        return weights[:, distance.clamp(0, 2 * reach)] * is_tap  # (n, size, size + 2 reach)

    height, width = x.shape[2] - 2 * reach, x.shape[3] - 2 * reach
    x = torch.matmul(x, band(width).transpose(1, 2).unsqueeze(1))
    return torch.matmul(band(height).unsqueeze(1), x)
