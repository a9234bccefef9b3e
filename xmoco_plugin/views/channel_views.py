# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmpretrain.registry import TRANSFORMS

from .parameters import BRIGHTNESS, CONTRAST, ViewParameters
from .recipe import ViewRecipe
from .two_views import TwoViews

Step = Callable[[np.ndarray], np.ndarray]
COLOURS = ("saturation", "hue", "grey_prob")  # of recipes: they mix red, green and blue


@TRANSFORMS.register_module()
class ChannelViews(TwoViews):
    """Two random views of an image of any number of channels, in floats.

    As ``TwoViews``, but for what mixes red, green and blue: its recipes have no saturation, hue and
    grey. Brightness is one factor for all channels, and contrast is that of each about its own
    mean.

    Required keys: ``img``, (H, W, C) float32 in [0, 255]. Modified keys: ``img``, two views
    (h, w, C) float32.

    Args:
        views: as of ``TwoViews``; with ``saturation=0, hue=0, grey_prob=0``.
        shared_draws: as of ``TwoViews``.

    Raises:
        ValueError: for a recipe with saturation, hue or grey.
    """

    def __init__(self, views: str | dict | Sequence, shared_draws: int = 1) -> None:
        super().__init__(views, shared_draws)
        for recipe in self.recipes:
            if named := [name for name in COLOURS if getattr(recipe, name)]:
                raise ValueError(
                    f"ChannelViews does not know which channels are colours: set "
                    f"{', '.join(f'{name}=0' for name in named)}"
                )

    def _view(
        self, image: np.ndarray, recipe: ViewRecipe, drawn: ViewParameters, i: int
    ) -> np.ndarray:
        return view_in_floats(image, recipe, drawn, i)


def view_in_floats(
    image: np.ndarray, recipe: ViewRecipe, drawn: ViewParameters, i: int = 0
) -> np.ndarray:
    """One view, (h, w, C) float32 in [0, 255].

    Args:
        image: (H, W, C) float32.
        recipe, drawn: what is applied: row i of the parameters.
    """
    top, left, height, width = drawn.box[i].tolist()
    crop = torch.from_numpy(image[top : top + height, left : left + width])[None]
    crop = crop.permute(0, 3, 1, 2)
    crop = F.interpolate(crop, recipe.shape, mode=recipe.interpolation, antialias=True)
    x = np.ascontiguousarray(crop[0].permute(1, 2, 0).numpy())
    np.clip(x, 0, 255, out=x)  # what bicubic overshoots
    for step in _steps(recipe, drawn, i):
        x = step(x)
    return np.ascontiguousarray(x)


def _steps(recipe: ViewRecipe, drawn: ViewParameters, i: int) -> Iterator[Step]:
    for kind in drawn.order[i].tolist():
        factor = float(drawn.factors[i, kind])
        if kind in (BRIGHTNESS, CONTRAST) and factor != 1:
            yield partial(_adjust, kind=kind, factor=factor)
    sigma = float(drawn.sigma[i])
    if sigma > 0:
        yield partial(_blur, sigma=sigma)
    if drawn.solarize[i]:
        yield lambda x: np.where(x >= recipe.solarize_threshold, 255 - x, x)
    if drawn.flip[i]:
        yield lambda x: x[:, ::-1]


def _adjust(x: np.ndarray, kind: int, factor: float) -> np.ndarray:
    mean = x.mean(axis=(0, 1), dtype=np.float64).astype(np.float32) if kind == CONTRAST else 0
    x = x * np.float32(factor) + np.float32(1 - factor) * mean
    return np.clip(x, 0, 255, out=x)


def _blur(x: np.ndarray, sigma: float) -> np.ndarray:
    kernel = cv2.getGaussianKernel(2 * round(3 * sigma) + 1, sigma)
    blurred = cv2.sepFilter2D(x, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return blurred.reshape(x.shape)  # of one channel OpenCV drops the axis
