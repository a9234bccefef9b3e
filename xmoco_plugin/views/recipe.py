# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a view is drawn from: ranges and probabilities, of MoCo v1, v2, v3, and weak ones."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

INTERPOLATIONS = ("bilinear", "bicubic")


@dataclass(frozen=True)
class ViewRecipe:
    """The transforms of one view, in this order: crop, jitter, grey, blur, solarize, flip.

    The defaults are MoCo v2's (arXiv 2003.04297), as mmpretrain's configs have them.

    Args:
        size: side of the square view, in pixels, or (height, width).
        crop_scale: share of the image's area that a crop has, in (0, 1].
        crop_ratio: width by height of a crop, drawn evenly on a log scale.
        interpolation: 'bilinear' or 'bicubic', both antialiased as Pillow's are.
        brightness, contrast, saturation: j >= 0, factors from [max(0, 1 - j), 1 + j].
        hue: j in [0, 0.5], shifts from [-j, j] of a full turn.
        jitter_prob: share of the views whose colours are jittered, in a random order.
        grey_prob: share of grey views.
        grey_first: grey before the jitter instead of after it, as in MoCo v1.
        blur_prob: share of blurred views.
        blur_sigma: standard deviation of the Gaussian, in pixels of the view.
        solarize_prob: share of views whose values from ``solarize_threshold`` up are inverted.
        solarize_threshold: in [0, 255].
        flip_prob: share of mirrored views.

    Raises:
        ValueError: for a value out of its range.
    """

    size: int | tuple[int, int] = 224
    crop_scale: tuple[float, float] = (0.2, 1.0)
    crop_ratio: tuple[float, float] = (3 / 4, 4 / 3)
    interpolation: str = "bilinear"
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    jitter_prob: float = 0.8
    grey_prob: float = 0.2
    grey_first: bool = False
    blur_prob: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    solarize_prob: float = 0.0
    solarize_threshold: float = 128.0
    flip_prob: float = 0.5

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.name.endswith("_prob")):
            self._require(name, 0 <= getattr(self, name) <= 1, "a probability, in [0, 1]")
        for name in ("brightness", "contrast", "saturation"):
            self._require(name, getattr(self, name) >= 0, "not negative")
        self._require("hue", 0 <= self.hue <= 0.5, "in [0, 0.5], a share of a full turn")
        low, high = self.crop_scale
        self._require("crop_scale", 0 < low <= high <= 1, "(low, high) in (0, 1]")
        for name in ("crop_ratio", "blur_sigma"):
            low, high = getattr(self, name)
            self._require(name, 0 < low <= high, "(low, high), both positive")
        self._require("size", min(self.shape) >= 1, "at least 1 pixel")
        self._require(
            "interpolation", self.interpolation in INTERPOLATIONS, f"one of {INTERPOLATIONS}"
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of a view."""
        height, width = (self.size,) * 2 if isinstance(self.size, int) else self.size
        return height, width

    def _require(self, name: str, holds: bool, domain: str) -> None:
        if not holds:
            raise ValueError(f"a view's {name} is {getattr(self, name)!r}; it must be {domain}")


_V2 = ViewRecipe()
_V3 = replace(_V2, saturation=0.2, blur_prob=1.0)
# Crop and flip alone, as the teacher sees an image in ReSSL (arXiv 2107.09282).
_WEAK = replace(_V2, jitter_prob=0.0, grey_prob=0.0, blur_prob=0.0)
_V1 = replace(_V2, hue=0.4, jitter_prob=1.0, blur_prob=0.0, grey_first=True)
# Name: (first view, second view).
RECIPES: dict[str, tuple[ViewRecipe, ViewRecipe]] = {
    # arXiv 1911.05722: no blur, always jittered, hue of 0.4, grey before the jitter.
    "mocov1": (_V1, _V1),
    "mocov2": (_V2, _V2),
    # arXiv 2104.02057, after BYOL: the two views differ.
    "mocov3": (_V3, replace(_V3, blur_prob=0.1, solarize_prob=0.2)),
    # The query as above, the key weak: the second view, which the momentum encoder sees.
    "mocov1_weak_key": (_V1, _WEAK),
    "mocov2_weak_key": (_V2, _WEAK),
    "mocov3_weak_key": (_V3, _WEAK),
    # Both weak: for a start that is good already, or images whose colours matter.
    "weak": (_WEAK, _WEAK),
}


def check_shared_draws(n: int) -> int:
    """The number of images that share a draw; ValueError unless it is a whole one from 1 up."""
    if not isinstance(n, int) or isinstance(n, bool) or n < 1:
        raise ValueError(f"shared_draws is a number of images, 1 or more, got {n!r}")
    return n


def build_recipes(views: str | dict[str, Any] | Sequence) -> tuple[ViewRecipe, ViewRecipe]:
    """The two recipes that a config asks for.

    Args:
        views: a name of ``RECIPES``; a dict of :class:`ViewRecipe`'s arguments for both views, with
            ``recipe='mocov1'`` or another name where it starts from (MoCo v2's if it says nothing);
            or a sequence of two such names or dicts, one a view.

    Raises:
        ValueError: for an unknown name or argument, or another number of views.
    """
    if isinstance(views, str | dict):
        views = (views, views)
    if len(views) != 2:
        raise ValueError(f"there are two views, but views names {len(views)}: {views!r}")
    first, second = (_build(view, i) for i, view in enumerate(views))
    return first, second


def _build(view: str | dict[str, Any], i: int) -> ViewRecipe:
    options = dict(recipe=view) if isinstance(view, str) else dict(view)
    options.pop("_scope_", None)
    name = options.pop("recipe", "mocov2")
    if name not in RECIPES:
        raise ValueError(f"no recipe {name!r} for views; there are {', '.join(RECIPES)}")
    known = [f.name for f in fields(ViewRecipe)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise ValueError(f"a view has no {', '.join(unknown)}; it has {', '.join(known)}")
    values: dict[str, Any] = {
        # A config has lists where these have tuples, which compare and hash.
        key: tuple(value) if isinstance(value, list) else value
        for key, value in options.items()
    }
    return replace(RECIPES[name][i], **values)
