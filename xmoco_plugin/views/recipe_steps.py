# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A recipe of views as transforms, one a step: to look at what `TwoViews` does in one go."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform

from .generator import fresh_generator
from .parameters import draw_parameters
from .recipe import ViewRecipe
from .two_views import crop_in_bytes, steps_in_bytes

# Kinds of steps -> the recipe's settings that each reads.
KINDS = {
    "Crop": ("size", "crop_scale", "crop_ratio", "interpolation"),
    "Jitter": ("brightness", "contrast", "saturation", "hue"),
    "Grey": ("grey_first",),
    "Blur": ("blur_sigma",),
    "Solarize": ("solarize_threshold",),
    "Flip": (),
}
PROBABILITIES = [f.name for f in fields(ViewRecipe) if f.name.endswith("_prob")]
SMALLEST = 1 / 6  # px: the kernel of a narrower blur is one pixel, and changes nothing


class RecipeStep(BaseTransform):
    """One step of a recipe, with a draw of its own; draws of a recipe's steps are independent.

    Args:
        kind: Of ``KINDS``.
        recipe: That it is of.

    Attributes:
        prob: Share of the views that it changes.
    """

    def __init__(self, kind: str, recipe: ViewRecipe) -> None:
        self.kind = kind
        name = f"{kind.lower()}_prob"
        others: dict[str, Any] = dict.fromkeys(PROBABILITIES, 0.0)
        others.pop(name, None)
        self.recipe = replace(recipe, **others)
        self.prob = 1.0 if kind == "Crop" else getattr(recipe, name)
        if kind == "Blur":
            low, high = recipe.blur_sigma
            wide = 1.0 if low >= SMALLEST else max(high - SMALLEST, 0) / max(high - low, 1e-9)
            self.prob *= wide

    def transform(self, results: dict) -> dict:
        """The sample with ``img``, (H, W, 3) uint8 BGR, changed."""
        image = results["img"]
        rng = fresh_generator()
        drawn = draw_parameters(self.recipe, [image.shape[:2]], rng)
        if self.kind == "Crop":
            image = crop_in_bytes(image, self.recipe, drawn)
        else:
            for step in steps_in_bytes(self.recipe, drawn):
                image = step(image, np.empty_like(image))
        return {**results, "img": image, "img_shape": image.shape[:2]}

    def __repr__(self) -> str:
        read = {name: getattr(self.recipe, name) for name in KINDS[self.kind]}
        shown = ", ".join(f"{name}={value}" for name, value in read.items())
        return f"{self.name}({shown}{', ' if shown else ''}prob={self.prob:.3g})"

    @property
    def name(self) -> str:
        """What a picture and a table call it."""
        return f"view: {self.kind.lower()}"


def recipe_steps(recipe: ViewRecipe) -> list[RecipeStep]:
    """The steps of a recipe that ever happen, in its order."""
    order = ["Crop", "Jitter", "Grey", "Blur", "Solarize", "Flip"]
    if recipe.grey_first:
        order[1:3] = ["Grey", "Jitter"]
    found = [RecipeStep(kind, recipe) for kind in order]
    return [step for step in found if step.prob > 0]
