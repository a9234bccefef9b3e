# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS

from .colour import LUMA
from .parameters import BRIGHTNESS, CONTRAST, HUE, ViewParameters, draw_parameters
from .recipe import ViewRecipe, build_recipes

BGR_LUMA = np.array(LUMA[::-1])


@TRANSFORMS.register_module()
class TwoViews(BaseTransform):
    """Two random views of an image in a worker, in bytes: what mmpretrain's pipeline makes, faster.

    Takes the place of ``MultiView`` with its pipelines. The draws are those of
    ``TwoViewDataPreprocessor``, the pixels Pillow's to a few grey levels, without its copies:
    torch's antialiased resize of a crop in place, one 3 x 4 matrix for each change of brightness,
    contrast or saturation, OpenCV's hue and blur. Random numbers follow numpy's global generator,
    which mmengine seeds in each worker.

    Required keys: ``img``, (H, W, 3) uint8 BGR. Modified keys: ``img``, two views (h, w, 3) BGR.

    Args:
        views: 'mocov1', 'mocov2', 'mocov3', or options; see ``build_recipes``. Default 'mocov2'.
    """

    def __init__(self, views: str | dict | Sequence = "mocov2") -> None:
        self.recipes = build_recipes(views)

    def transform(self, results: dict) -> dict:
        """Replace the image by its two views."""
        image = results["img"]
        rng = np.random.default_rng(np.random.randint(2**32, size=2, dtype=np.uint32))
        first, second = self.recipes
        size = image.shape[:2]
        if first == second:  # one draw of two costs half of two of one
            both = draw_parameters(first, [size, size], rng)
            results["img"] = [view_in_bytes(image, first, both, i) for i in range(2)]
        else:
            results["img"] = [
                view_in_bytes(image, recipe, draw_parameters(recipe, [size], rng))
                for recipe in self.recipes
            ]
        results["img_shape"] = results["img"][0].shape[:2]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(views={self.recipes})"


def view_in_bytes(
    image: np.ndarray, recipe: ViewRecipe, drawn: ViewParameters, i: int = 0
) -> np.ndarray:
    """One view, (h, w, 3) uint8 BGR.

    Args:
        image: (H, W, 3) uint8 BGR.
        recipe, drawn: what is applied: row i of the parameters.
    """
    top, left, height, width = drawn.box[i].tolist()
    # With the batch's dimension in front torch sees channels last, which is four times as fast.
    crop = torch.from_numpy(image[top : top + height, left : left + width])[None]
    crop = crop.permute(0, 3, 1, 2)
    crop = F.interpolate(crop, recipe.shape, mode=recipe.interpolation, antialias=True)
    x = np.ascontiguousarray(crop[0].permute(1, 2, 0).numpy())
    grey = bool(drawn.grey[i])
    if grey and recipe.grey_first:
        x = _grey(x)
    for step in drawn.order[i].tolist():
        x = _adjust(x, step, float(drawn.factors[i, step]))
    if grey and not recipe.grey_first:
        x = _grey(x)
    sigma = float(drawn.sigma[i])
    if sigma > 0:
        x = cv2.GaussianBlur(x, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    if drawn.solarize[i]:
        values = np.arange(256)
        table = np.where(values >= recipe.solarize_threshold, 255 - values, values)
        x = cv2.LUT(x, table.astype(np.uint8))
    return cv2.flip(x, 1) if drawn.flip[i] else x


def _grey(x: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)


def _adjust(x: np.ndarray, step: int, factor: float) -> np.ndarray:
    """One change of the jitter; the first three are affine in a pixel and saturate."""
    if step == HUE:
        if factor == 0:
            return x
        hsv = cv2.cvtColor(x, cv2.COLOR_BGR2HSV_FULL)
        # A full turn is 256, and bytes go round by themselves.
        hue = hsv[..., 0]
        np.add(hue, np.uint8(round(factor * 256) % 256), out=hue)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)
    if factor == 1:
        return x
    matrix = np.zeros((3, 4))
    matrix[:, :3] = np.eye(3) * factor
    if step == CONTRAST:
        matrix[:, 3] = (1 - factor) * (BGR_LUMA @ cv2.mean(x)[:3])
    elif step != BRIGHTNESS:
        matrix[:, :3] += (1 - factor) * BGR_LUMA
    return cv2.transform(x, matrix)
