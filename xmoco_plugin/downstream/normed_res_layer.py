# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
# Not imported with the package: it needs mmdet. Configs name this file in custom_imports.
import torch
from mmcv.cnn import build_norm_layer
from mmdet.models.roi_heads.shared_heads.res_layer import ResLayer
from mmdet.registry import MODELS


@MODELS.register_module()
class NormedResLayer(ResLayer):
    """mmdet's res5 head of C4 detectors, with a norm after its last block.

    An unsupervised backbone's res5 puts out values of another scale than a supervised one's; MoCo's
    C4 detectors (arXiv 1911.05722, appendix) normalize them before the box head.

    Args:
        args: Of ``ResLayer``.
        norm_cfg: The norm, of the blocks too.
        kwargs: Of ``ResLayer``.
    """

    def __init__(self, *args, norm_cfg: dict, **kwargs) -> None:
        super().__init__(*args, norm_cfg=norm_cfg, **kwargs)
        block = getattr(self, f"layer{self.stage + 1}")[-1]
        channels = (block.conv3 if hasattr(block, "conv3") else block.conv2).out_channels
        self.norm = build_norm_layer(norm_cfg, channels)[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(R, C, H, W) of R regions to (R, 2C, H/2, W/2), normalized."""
        return self.norm(super().forward(x))
