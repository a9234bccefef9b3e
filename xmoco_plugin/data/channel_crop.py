# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
import torch.nn.functional as F
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ChannelCrop(BaseTransform):
    """The middle of an image of any number of channels, as a backbone is judged on it.

    The short side is resized, antialiased, and the middle is cropped.

    Required keys: ``img``, (H, W, C) float32. Modified keys: ``img``, ``img_shape``.

    Args:
        size (int): Of the crop, in pixels.
        short (int, optional): Of the short side before that. Defaults to None: 8/7 of ``size``, as
            ``labelled_sets`` does it for pictures.
    """

    def __init__(self, size: int, short: int | None = None) -> None:
        self.size = size
        self.short = round(size * 8 / 7) if short is None else short

    def transform(self, results: dict) -> dict:
        """Resize and crop."""
        image = torch.from_numpy(results["img"]).permute(2, 0, 1)[None]
        height, width = image.shape[-2:]
        scale = self.short / min(height, width)
        shape = max(round(height * scale), self.short), max(round(width * scale), self.short)
        image = F.interpolate(image, shape, mode="bilinear", antialias=True)[0]
        top, left = ((side - self.size) // 2 for side in shape)
        image = image[:, top : top + self.size, left : left + self.size]
        results["img"] = image.permute(1, 2, 0).contiguous().numpy()
        results["img_shape"] = results["img"].shape[:2]
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(size={self.size}, short={self.short})"
