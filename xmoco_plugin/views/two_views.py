# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from .colour import LUMA
from .generator import fresh_generator
from .parameters import CONTRAST, HUE, SATURATION, ViewParameters, draw_parameters
from .recipe import ViewRecipe, build_recipes, check_shared_draws

Step = Callable[[np.ndarray, np.ndarray], np.ndarray]
BGR_LUMA = np.array(LUMA[::-1])


@TRANSFORMS.register_module()
class TwoViews(BaseTransform):
    """Two random views of an image in a worker, in bytes: what mmpretrain's pipeline makes, faster.

    Takes the place of ``MultiView`` with its pipelines. The draws are those of
    ``TwoViewDataPreprocessor``, the pixels Pillow's to a few grey levels, without its copies:
    torch's antialiased resize of a crop in place, weighted sums for brightness, contrast and
    saturation, OpenCV's hue and a separable blur, between two buffers. Random numbers follow
    numpy's global generator, which mmengine seeds in each worker.

    Required keys: ``img``, (H, W, 3) uint8 BGR. Modified keys: ``img``, two views (h, w, 3) BGR.

    Args:
        views: a name of ``RECIPES`` ('mocov2', 'mocov2_weak_key', ...), or options; see
            ``build_recipes``. Default 'mocov2'.
        shared_draws: so many images in a row of a worker are seen under one and the same draw, as
            in ``TwoViewDataPreprocessor``. A worker makes whole batches: let the batch size be a
            multiple, or draws go on into the worker's next batch. Default 1, a draw for each.
    """

    def __init__(self, views: str | dict | Sequence = "mocov2", shared_draws: int = 1) -> None:
        self.recipes = build_recipes(views)
        self.shared_draws = check_shared_draws(shared_draws)
        self._left = 0  # images that the draw is still for
        self._drawn: list[tuple[ViewParameters, int]] = []  # for each view: its row
        self._drawn_for = (0, 0)

    def transform(self, results: dict) -> dict:
        """Replace the image by its two views."""
        image = results["img"]
        size = image.shape[:2]
        if self._left == 0:
            self._draw(size)
        self._left -= 1
        results["img"] = [
            self._view(image, recipe, *self._for_size(drawn, row, size))
            for recipe, (drawn, row) in zip(self.recipes, self._drawn, strict=True)
        ]
        results["img_shape"] = results["img"][0].shape[:2]
        return results

    def _view(
        self, image: np.ndarray, recipe: ViewRecipe, drawn: ViewParameters, i: int
    ) -> np.ndarray:
        return view_in_bytes(image, recipe, drawn, i)

    def _draw(self, size: tuple[int, int]) -> None:
        rng = fresh_generator()
        first, second = self.recipes
        if first == second:  # one draw of two costs half of two of one
            both = draw_parameters(first, [size, size], rng)
            self._drawn = [(both, 0), (both, 1)]
        else:
            self._drawn = [(draw_parameters(recipe, [size], rng), 0) for recipe in self.recipes]
        self._left, self._drawn_for = self.shared_draws, size

    def _for_size(
        self, drawn: ViewParameters, row: int, size: tuple[int, int]
    ) -> tuple[ViewParameters, int]:
        """The draw, and its row, for an image of this size."""
        if size == self._drawn_for:
            return drawn, row
        return drawn.shared(np.array([row]), [size], [self._drawn_for] * len(drawn)), 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(views={self.recipes}, shared_draws={self.shared_draws})"


def view_in_bytes(
    image: np.ndarray, recipe: ViewRecipe, drawn: ViewParameters, i: int = 0
) -> np.ndarray:
    """One view, (h, w, 3) uint8 BGR; in memory its colours lie apart, (3, h, w).

    That is how ``PackInputs`` wants them, which then copies nothing.

    Args:
        image: (H, W, 3) uint8 BGR.
        recipe, drawn: what is applied: row i of the parameters.
    """
    x = crop_in_bytes(image, recipe, drawn, i)
    # A step reads one buffer and writes the other: the pages of a new one cost as much as a step.
    spare = np.empty_like(x)
    for step in steps_in_bytes(recipe, drawn, i):
        done = step(x, spare)
        x, spare = done, spare if done is x else x
    colours = np.empty((3, *x.shape[:2]), np.uint8)
    cv2.split(x, list(colours))
    return colours.transpose(1, 2, 0)


def crop_in_bytes(
    image: np.ndarray, recipe: ViewRecipe, drawn: ViewParameters, i: int = 0
) -> np.ndarray:
    """The crop of a view, (h, w, 3) uint8 BGR, contiguous; arguments of :func:`view_in_bytes`."""
    top, left, height, width = drawn.box[i].tolist()
    # With the batch's dimension in front torch sees channels last, which is four times as fast.
    crop = torch.from_numpy(image[top : top + height, left : left + width])[None]
    crop = crop.permute(0, 3, 1, 2)
    crop = F.interpolate(crop, recipe.shape, mode=recipe.interpolation, antialias=True)
    return np.ascontiguousarray(crop[0].permute(1, 2, 0).numpy())


def steps_in_bytes(recipe: ViewRecipe, drawn: ViewParameters, i: int = 0) -> Iterator[Step]:
    """What befalls a crop. A step gets pixels and another buffer, and returns the one it filled."""
    grey = bool(drawn.grey[i])
    if grey and recipe.grey_first:
        yield _grey
    for kind in drawn.order[i].tolist():
        factor = float(drawn.factors[i, kind])
        if factor != (0 if kind == HUE else 1):
            yield partial(_adjust, kind=kind, factor=factor)
    if grey and not recipe.grey_first:
        yield _grey
    sigma = float(drawn.sigma[i])
    if sigma > 0:
        yield partial(_blur, sigma=sigma)
    if drawn.solarize[i]:
        values = np.arange(256)
        table = np.where(values >= recipe.solarize_threshold, 255 - values, values)
        yield lambda x, out: cv2.LUT(x, table.astype(np.uint8), out)
    if drawn.flip[i]:
        yield lambda x, out: cv2.flip(x, 1, out)


def _grey(x: np.ndarray, out: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR, out)


def _blur(x: np.ndarray, out: np.ndarray, sigma: float) -> np.ndarray:
    # OpenCV's GaussianBlur has weights of 8 bits for bytes: half as fast, and off by more than a
    # rounding. As there, the kernel ends after three standard deviations.
    kernel = cv2.getGaussianKernel(2 * round(3 * sigma) + 1, sigma)
    return cv2.sepFilter2D(x, -1, kernel, kernel, out, borderType=cv2.BORDER_REPLICATE)


def _adjust(x: np.ndarray, out: np.ndarray, kind: int, factor: float) -> np.ndarray:
    """One change of the jitter; the first three are affine in a pixel and saturate."""
    if kind == HUE:
        hsv = cv2.cvtColor(x, cv2.COLOR_BGR2HSV_FULL, out)
        # A full turn is 256, and bytes go round by themselves. One addition to all the bytes is
        # five times as fast as one to every third.
        turn = np.zeros_like(x[0])
        turn[:, 0] = round(factor * 256) % 256
        np.add(hsv, turn, out=hsv)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL, x)
    # Sums of two images are fast in all versions of OpenCV; its matrix of colours was not in 4.11.
    if kind == SATURATION:
        return cv2.addWeighted(x, factor, _grey(x, out), 1 - factor, 0, out)
    mean = BGR_LUMA @ cv2.mean(x)[:3] if kind == CONTRAST else 0.0
    return cv2.addWeighted(x, factor, x, 0, (1 - factor) * mean, out)
