# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Iterator, Mapping
from typing import Any

from .recipe import build_recipes

CROPS = (
    *("RandomResizedCrop", "TwoViews", "ChannelViews", "OneView", "TwoViewDataPreprocessor"),
    *("OneChannelView", "ProgressiveSizeHook"),
)


def training_size(cfg: Mapping[str, Any]) -> tuple[int, str] | None:
    """The side of the largest views that a config trains on, and the name of what crops them.

    It is what a backbone is judged at unless another size is named. Looked at are mmpretrain's
    ``RandomResizedCrop`` (and classes named after it), the recipes of ``TwoViews`` and
    ``TwoViewDataPreprocessor``, and the last size of ``ProgressiveSizeHook``.

    Args:
        cfg: a whole config, its registered names as strings; what is no literal may be None.

    Returns:
        (pixels, name), or None where the config names no such size.
    """
    model = cfg.get("model")
    within = [
        *(cfg.get("train_dataloader"), cfg.get("data_preprocessor"), cfg.get("custom_hooks")),
        model.get("data_preprocessor") if isinstance(model, Mapping) else None,
    ]
    found: dict[str, int] = {}
    for step in _dicts(within):
        name = str(step.get("type")).split(".")[-1].split("/")[-1]
        crop = next((known for known in CROPS if name.startswith(known)), "")
        side = _side(step, crop)
        if side:
            found[crop] = max(side, found.get(crop, 0))
    # The hook sets the views of the preprocessor, whatever its recipe says.
    name = CROPS[-1] if CROPS[-1] in found else max(found, key=lambda key: found[key], default="")
    return (found[name], name) if name else None


def _dicts(value: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, Mapping):
        yield value
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from _dicts(item)


def _side(step: Mapping[str, Any], crop: str) -> int | None:
    size: Any = None
    if crop == "RandomResizedCrop":
        size = step.get("scale") or step.get("size")  # the host's, torchvision's
    elif crop == "ProgressiveSizeHook":
        size = step.get("last", 224)
    elif crop:
        try:
            size = [
                n for recipe in build_recipes(step.get("views") or "mocov2") for n in recipe.shape
            ]
        except (ValueError, TypeError):  # a stranger's config: it says nothing, and need not
            return None
    sides = [n for n in (size if isinstance(size, list | tuple) else [size]) if isinstance(n, int)]
    return max(sides, default=None)
