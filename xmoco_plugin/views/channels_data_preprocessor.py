# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import torch
from mmpretrain.models import SelfSupDataPreprocessor
from mmpretrain.registry import MODELS


@MODELS.register_module()
class ChannelsDataPreprocessor(SelfSupDataPreprocessor):
    """Normalizes images of any number of channels; the host's takes 1 or 3.

    Args:
        mean, std: of each channel, in the units of what ``LoadChannelsOrSkip`` gives: 0 to 255.
        value_range: what that reader makes 0 and 255 of. Kept with the weights, so that whoever
            uses them reads alike.
        kwargs: of ``SelfSupDataPreprocessor``, but for an order of colours.

    Raises:
        ValueError: for means and deviations of unlike number, or a deviation that is not positive.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        value_range: Sequence[float] = (0, 255),
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        if len(mean) != len(std) or not all(value > 0 for value in std):
            raise ValueError(
                f"mean has {len(mean)} values and std {len(std)}; they must be as many, and the "
                "deviations positive"
            )
        self.value_range = tuple(value_range)
        self._enable_normalize = True
        self.register_buffer("mean", torch.tensor(list(mean)).view(-1, 1, 1), False)
        self.register_buffer("std", torch.tensor(list(std)).view(-1, 1, 1), False)
