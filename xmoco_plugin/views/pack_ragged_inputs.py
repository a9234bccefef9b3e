# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
import torch
from mmpretrain.datasets import PackInputs
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PackRaggedInputs(PackInputs):
    """mmpretrain's ``PackInputs`` that leaves the image as it was decoded, (H, W, 3).

    Moving the channels first costs more than half of what decoding costs, and the device does it
    for nothing. Use with ``collate_fn=dict(type='ragged_collate')``.

    Args:
        As of ``PackInputs``.
    """

    @staticmethod
    def format_input(input_: np.ndarray) -> torch.Tensor:
        """(H, W, 3) uint8, or the (bytes,) of a JPEG, as a tensor, without a copy."""
        if not isinstance(input_, np.ndarray) or input_.ndim not in (1, 3):
            raise ValueError(
                f"PackRaggedInputs takes one image (H, W, 3), got {type(input_).__name__}"
                + (f" of shape {input_.shape}" if isinstance(input_, np.ndarray) else "")
                + ": make no views in the pipeline (no MultiView)"
            )
        return torch.from_numpy(np.ascontiguousarray(input_))
