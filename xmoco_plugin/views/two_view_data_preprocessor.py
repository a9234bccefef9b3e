# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from mmpretrain.models import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS

from ..distributed import world
from ..precision import without_autocast
from .decode_jpegs import decode_jpegs, decoder_device, holds_jpegs, name_skipped, tell_decoder
from .parameters import draw_parameters
from .prefetcher import PreparedBatch
from .ragged import image_sizes, split_ragged
from .recipe import build_recipes, check_shared_draws
from .render import render_views

DTYPES = {"float32": torch.float32, "float16": torch.float16}


@MODELS.register_module()
class TwoViewDataPreprocessor(SelfSupDataPreprocessor):
    """Two random views of each image, made on the model's device from one uint8 image.

    Takes the place of ``SelfSupDataPreprocessor``; the pipeline then only loads and packs:
    ``[dict(type='LoadImageOrSkip'), dict(type='PackRaggedInputs', meta_keys=...)]`` with
    ``collate_fn=dict(type='ragged_collate')`` for images of any sizes. Images of one size also come
    through ``PackInputs`` and ``default_collate``. Outside training it is its base class.
    JPEGs that ``LoadImageOrSkip(defer_jpegs=True)`` has left to it are decoded by torchvision, on a
    CUDA device the batch in one call of nvJPEG. The host waits there for the current stream and for
    the decoder, and nowhere else.

    The random numbers come from numpy, seeded by torch's CPU generator and the rank once a batch:
    they are the same for every device, differ between processes, and go on where a restored
    generator of torch goes on. Views wait for nothing on the device, and mixed precision, in whose
    context the host calls it, changes no pixel.

    Args:
        mean, std: of R, G, B, in [0, 255].
        views: what is drawn: a name of ``RECIPES`` ('mocov2', 'mocov2_weak_key', ...), a dict of
            ``ViewRecipe``'s options, or two of these; see ``build_recipes``. Default 'mocov2'.
        shared_draws: so many images of a batch in a row are seen under one and the same draw of the
            first view's transformations, and one of the second's: XMoCo's pairs of images under the
            same transformation, as in CARE (arXiv 2306.13924). Default 1, a draw for each image.
        chunk_pixels: bounds the memory of the crops; see ``render_views``.
        precision: of the crops' matrix products, 'float32' (default) or 'float16', which is off by
            up to 0.3/255 and faster where float32 runs without tensor cores.
        kwargs: of ``SelfSupDataPreprocessor``: ``to_rgb=True`` for the BGR of OpenMMLab's loaders;
            colours are jittered in RGB.

    Raises:
        ValueError: for an unknown recipe or precision, and for batches that are not one image each.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        views: str | dict | Sequence = "mocov2",
        chunk_pixels: int = 2**24,
        precision: str = "float32",
        shared_draws: int = 1,
        **kwargs,
    ) -> None:
        super().__init__(mean=mean, std=std, **kwargs)
        if precision not in DTYPES:
            raise ValueError(f"precision is {precision!r}; choose {' or '.join(DTYPES)}")
        self.recipes = build_recipes(views)
        self.shared_draws = check_shared_draws(shared_draws)
        self.chunk_pixels = chunk_pixels
        self.dtype = DTYPES[precision]
        self._told: set[str] = set()  # what the log says about who decodes JPEGs

    def resize_views(self, size: int | tuple[int, int]) -> None:
        """Make views of another size from here on; all else of the recipes stays."""
        first, second = (replace(recipe, size=size) for recipe in self.recipes)
        self.recipes = first, second

    @torch.no_grad()
    def forward(self, data: dict, training: bool = False) -> dict:
        """Two normalized views, each (N, 3, h, w); outside training, the normalized images.

        A ``PreparedBatch`` has been here and passes.
        """
        if isinstance(data, PreparedBatch):
            return data
        if not training:
            return super().forward(data, training)
        if holds_jpegs(data["inputs"]):
            data = self._decoded(data)
        data = self.cast_data(data)
        images = _single_images(data["inputs"])
        rng = np.random.default_rng((int(torch.randint(2**62, ()).item()), world()[0]))
        sizes = image_sizes(images)
        views = [
            (recipe, draw_parameters(recipe, sizes, rng, self.shared_draws))
            for recipe in self.recipes
        ]
        with without_autocast(images[0]):
            rendered = render_views(
                images, views, self._channel_conversion, self.chunk_pixels, self.dtype
            )
        if self._enable_normalize:
            rendered = [view.sub_(self.mean).div_(self.std) for view in rendered]
        return dict(inputs=rendered, data_samples=data.get("data_samples"))

    def _decoded(self, data: dict) -> dict:
        """The batch with pixels for files; names those that are unreadable."""
        device = decoder_device(self.device)
        images, reasons, fault = decode_jpegs(split_ragged(data["inputs"]), device)
        tell_decoder(device, reasons, fault, self._told)
        name_skipped(data.get("data_samples"), reasons)
        return {**data, "inputs": images}


def _single_images(inputs: Any) -> Sequence[torch.Tensor] | torch.Tensor:
    """The batch's images as (H, W, 3), stacked or one by one, from whichever collate function."""
    if isinstance(inputs, dict):
        return split_ragged(inputs)
    if isinstance(inputs, torch.Tensor) and inputs.ndim == 4 and inputs.dtype == torch.uint8:
        return inputs.permute(0, 2, 3, 1)
    images = list(inputs)
    if any(image.ndim != 3 or image.dtype != torch.uint8 for image in images):
        kinds = sorted({f"{image.dtype} {tuple(image.shape)}" for image in images})
        raise ValueError(
            "TwoViewDataPreprocessor makes the views itself and takes one uint8 image (3, H, W) "
            f"each, got {', '.join(kinds[:3])}: take MultiView out of the training pipeline"
        )
    return [image.permute(1, 2, 0) for image in images]
