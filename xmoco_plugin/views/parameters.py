# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The random numbers of a batch of views, drawn on the host, which then knows what whom befalls.

So no device is asked, no transform is computed for an image that does not get it, and a seed gives
the same views on every device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from .recipe import ViewRecipe

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
ATTEMPTS = 10  # as in torchvision and mmpretrain


@dataclass(frozen=True)
class ViewParameters:
    """Of N views of one recipe.

    Args:
        box: int (N, 4): top, left, height, width of the crop, in pixels of the image.
        order: int (N, 4): which of brightness 0, contrast 1, saturation 2, hue 3 comes when.
        factors: float (N, 4): of brightness, contrast, saturation; the shift of the hue in turns.
            (1, 1, 1, 0) where the colours are left alone.
        grey, solarize, flip: bool (N,).
        sigma: float (N,): of the blur, in pixels of the view; 0 for none.
    """

    box: np.ndarray
    order: np.ndarray
    factors: np.ndarray
    grey: np.ndarray
    sigma: np.ndarray
    solarize: np.ndarray
    flip: np.ndarray

    def __len__(self) -> int:
        return len(self.box)

    def shared(
        self,
        rows: np.ndarray,
        sizes: Sequence[tuple[int, int]],
        drawn_for: Sequence[tuple[int, int]],
    ) -> "ViewParameters":
        """The same transformations for other images.

        A crop of an image of another size is the same share of its height and of its width.

        Args:
            rows: int (M,), which row befalls each image.
            sizes: (height, width) of the M images.
            drawn_for: (height, width) of the N images that these were drawn for.
        """
        mine = {f.name: getattr(self, f.name)[rows] for f in fields(self)}
        limit = np.asarray(sizes)  # (M, 2)
        scale = limit / np.asarray(drawn_for)[rows]
        corner = np.rint(mine["box"][:, :2] * scale).astype(np.int64)
        corner = np.minimum(corner, limit - 1)
        shape = np.rint(mine["box"][:, 2:] * scale).astype(np.int64).clip(min=1)
        mine["box"] = np.concatenate([corner, np.minimum(shape, limit - corner)], axis=1)
        return ViewParameters(**mine)


def draw_parameters(
    recipe: ViewRecipe,
    sizes: Sequence[tuple[int, int]],
    rng: np.random.Generator,
    shared_draws: int = 1,
) -> ViewParameters:
    """Parameters of one view of each image, independent of each other.

    Args:
        recipe: what they are drawn from.
        sizes: (height, width) of the N images.
        rng: numpy's generator.
        shared_draws: so many images in a row get one draw; see :meth:`ViewParameters.shared`.
    """
    if shared_draws > 1:
        firsts = sizes[::shared_draws]
        rows = np.arange(len(sizes)) // shared_draws
        return draw_parameters(recipe, firsts, rng).shared(rows, sizes, firsts)
    n = len(sizes)
    happens = lambda probability: rng.random(n) < probability  # noqa: E731
    jitters = np.array([recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue])
    neutral = np.array([1.0, 1.0, 1.0, 0.0])
    low = neutral - jitters
    low[:HUE] = low[:HUE].clip(min=0)
    factors = rng.uniform(low, neutral + jitters, (n, 4))
    return ViewParameters(
        box=_draw_boxes(recipe, np.asarray(sizes), rng),
        order=rng.permuted(np.tile(np.arange(4), (n, 1)), axis=1),
        factors=np.where(happens(recipe.jitter_prob)[:, None], factors, neutral),
        grey=happens(recipe.grey_prob),
        sigma=np.where(happens(recipe.blur_prob), rng.uniform(*recipe.blur_sigma, n), 0.0),
        solarize=happens(recipe.solarize_prob),
        flip=happens(recipe.flip_prob),
    )


def _draw_boxes(recipe: ViewRecipe, sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The first of ten crops that fits into the image, else the largest central one."""
    n = len(sizes)
    limit = sizes[:, None, :]  # (N, 1, 2)
    area = rng.uniform(*recipe.crop_scale, (n, ATTEMPTS)) * sizes.prod(axis=1, keepdims=True)
    log_low, log_high = (math.log(ratio) for ratio in recipe.crop_ratio)
    ratio = np.exp(rng.uniform(log_low, log_high, (n, ATTEMPTS)))
    tries = np.rint(np.sqrt(np.stack([area / ratio, area * ratio], axis=2))).astype(np.int64)
    fits = ((tries > 0) & (tries <= limit)).all(axis=2)  # (N, ATTEMPTS)
    chosen = tries[np.arange(n), fits.argmax(axis=1)]
    found = fits.any(axis=1)[:, None]
    central = _largest_boxes(sizes, recipe.crop_ratio)
    shape = np.where(found, chosen, central)
    # Random for what was found, the middle for the rest.
    corner = np.where(found, rng.integers(0, sizes - shape + 1), (sizes - shape) // 2)
    return np.concatenate([corner, shape], axis=1)


def _largest_boxes(sizes: np.ndarray, ratios: tuple[float, float]) -> np.ndarray:
    """(N, 2) heights and widths of the largest boxes whose ratio is allowed."""
    heights, widths = sizes[:, 0], sizes[:, 1]
    fitted_heights = np.minimum(heights, np.rint(widths / ratios[0]).astype(np.int64))
    fitted_widths = np.minimum(widths, np.rint(heights * ratios[1]).astype(np.int64))
    return np.maximum(np.stack([fitted_heights, fitted_widths], axis=1), 1)
