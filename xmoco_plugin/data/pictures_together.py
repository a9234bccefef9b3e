# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from mmengine.dataset import DefaultSampler
from mmpretrain.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class PicturesTogether(DefaultSampler):
    """Each sample once a pass, those of a few pictures near each other.

    Pictures that are decoded whole would be decoded for each of their tiles, if these came in any
    order. Here the pictures are shuffled, and of so many in a row all tiles are mixed. The order
    depends on seed and epoch alone.

    Args:
        dataset: With ``pictures``, the number of each sample's, as ``TiledImages`` has it.
        window (int): Pictures whose tiles are mixed.
        kwargs: As of ``DefaultSampler``.

    Raises:
        ValueError: For a window below 1, or another dataset.
    """

    each_once = True  # a pass, but for what rounds it up

    def __init__(self, dataset: Any, window: int, **kwargs) -> None:
        super().__init__(dataset, **kwargs)
        if window < 1:
            raise ValueError(f"window is {window}; it must be at least 1 picture")
        if not hasattr(dataset, "pictures"):
            raise ValueError(
                f"PicturesTogether needs samples that are of pictures, and {type(dataset).__name__}"
                " does not tell of which: use TiledImages, or DefaultSampler"
            )
        self.window = window

    def __iter__(self) -> Iterator[int]:
        """Indices of this process."""
        present, number = np.unique(np.asarray(self.dataset.pictures), return_inverse=True)
        order = np.arange(len(number))
        if self.shuffle:
            generator = torch.Generator()
            generator.manual_seed(self.seed + self.epoch)
            place = torch.randperm(len(present), generator=generator).numpy()[number]
            mixed = torch.randperm(len(number), generator=generator).numpy()
            order = mixed[np.argsort(place[mixed] // self.window, kind="stable")]
        indices = order.tolist()
        if self.round_up:
            indices = (indices * (self.total_size // len(indices) + 1))[: self.total_size]
        return iter(indices[self.rank : self.total_size : self.world_size])
