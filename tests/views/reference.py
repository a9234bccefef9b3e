# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A view of one image by other libraries, from given parameters; and photographs to try it on."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageFilter
from scipy import ndimage
from skimage import data
from torchvision.transforms import functional as tv

from xmoco_plugin.views import ViewParameters, ViewRecipe

RESAMPLE = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
ADJUST = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)


def photographs() -> list[np.ndarray]:
    """Four real photographs of unlike sizes, (H, W, 3) uint8 RGB; the last has few pixels."""
    astronaut, cat, rocket, coffee = data.astronaut(), data.chelsea(), data.rocket(), data.coffee()
    parts = [astronaut[:300, 40:440], cat, rocket[::2, ::2], coffee[50:90, 200:260]]
    return [np.ascontiguousarray(part) for part in parts]


def tensors(images: list[np.ndarray]) -> list[torch.Tensor]:
    return [torch.from_numpy(image) for image in images]


def sizes(images: list) -> list[tuple[int, int]]:
    return [tuple(image.shape[:2]) for image in images]


def whole(images: list, **changes) -> ViewParameters:
    """Parameters of views that are the whole image, as it is, but for the changes."""
    n = len(images)
    neutral = dict(
        box=np.array([[0, 0, *size] for size in sizes(images)]),
        order=np.tile(np.arange(4), (n, 1)),
        factors=np.tile([1.0, 1.0, 1.0, 0.0], (n, 1)),
        grey=np.zeros(n, bool),
        sigma=np.zeros(n),
        solarize=np.zeros(n, bool),
        flip=np.zeros(n, bool),
    )
    return ViewParameters(**{**neutral, **changes})


def adjust(x, drawn: ViewParameters, i: int):
    """The jitter of image i, tensor or Pillow's; only what changes: Pillow's HSV is not free."""
    for step in drawn.order[i]:
        factor = float(drawn.factors[i, step])
        x = x if factor == (0 if step == 3 else 1) else ADJUST[step](x, factor)
    return x


def in_floats(image: np.ndarray, recipe: ViewRecipe, drawn: ViewParameters, i: int) -> np.ndarray:
    """View i, (3, h, w), by torch, torchvision and scipy on floats, the flip last."""
    top, left, height, width = drawn.box[i]
    x = torch.from_numpy(image[top : top + height, left : left + width]).permute(2, 0, 1)[None]
    x = F.interpolate(x.double(), recipe.shape, mode=recipe.interpolation, antialias=True)[0]
    x = (x / 255).clamp(0, 1).float()
    x = tv.rgb_to_grayscale(x, 3) if drawn.grey[i] and recipe.grey_first else x
    x = adjust(x, drawn, i)
    x = tv.rgb_to_grayscale(x, 3) if drawn.grey[i] and not recipe.grey_first else x
    if drawn.sigma[i]:
        options = dict(mode="nearest", radius=int(4 * recipe.blur_sigma[1] + 0.5))
        x = torch.from_numpy(
            np.stack([ndimage.gaussian_filter(c.numpy(), drawn.sigma[i], **options) for c in x])
        )
    x = tv.solarize(x, recipe.solarize_threshold / 255) if drawn.solarize[i] else x
    return 255 * (tv.hflip(x) if drawn.flip[i] else x).numpy()


def by_pillow(image: np.ndarray, recipe: ViewRecipe, drawn: ViewParameters, i: int) -> np.ndarray:
    """View i, (3, h, w), in bytes after every step, as CPU pipelines have them."""
    top, left, height, width = drawn.box[i]
    x = Image.fromarray(image[top : top + height, left : left + width])
    x = x.resize(recipe.shape[::-1], RESAMPLE[recipe.interpolation])
    x = tv.to_grayscale(x, 3) if drawn.grey[i] and recipe.grey_first else x
    x = adjust(x, drawn, i)
    x = tv.to_grayscale(x, 3) if drawn.grey[i] and not recipe.grey_first else x
    x = x.filter(ImageFilter.GaussianBlur(float(drawn.sigma[i]))) if drawn.sigma[i] else x
    x = tv.solarize(x, recipe.solarize_threshold) if drawn.solarize[i] else x
    return np.asarray(tv.hflip(x) if drawn.flip[i] else x).transpose(2, 0, 1)
