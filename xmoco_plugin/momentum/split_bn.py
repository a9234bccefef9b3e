# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import nn


# In the root registry, where mmcv looks for a norm layer under every scope.
@MODELS.register_module()
class SplitBN(nn.BatchNorm2d):
    """BatchNorm over parts of the batch, as if each part were on a device of its own.

    On one process it gives shuffle-BN (arXiv 1911.05722, 3.3) its meaning back: without parts, a
    permuted batch has the statistics of the batch. Select it as
    ``norm_cfg=dict(type='SplitBN', num_splits=8)``. Names and shapes of the state are
    BatchNorm2d's; evaluation is BatchNorm2d's too.

    Args:
        num_features: channels C.
        num_splits: parts of the batch, image i belonging to part i mod num_splits; the batch of a
            process must be a multiple of it. Default 8, MoCo's number of GPUs.
        eps, momentum, affine, track_running_stats: as in ``nn.BatchNorm2d``; running statistics
            move by the mean over the parts.
    """

    def __init__(self, num_features: int, num_splits: int = 8, **kwargs) -> None:
        super().__init__(num_features, **kwargs)
        if num_splits < 1:
            raise ValueError(f"num_splits must be at least 1, got {num_splits}")
        self.num_splits = num_splits

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C, H, W).

        Raises:
            ValueError: in training, where N is no multiple of num_splits.
        """
        if not self.training or self.num_splits == 1:
            return super().forward(x)
        n, c, h, w = x.shape
        if n % self.num_splits:
            raise ValueError(
                f"SplitBN splits a batch into {self.num_splits} equal parts, but this process got "
                f"{n} images: choose a batch_size that is a multiple, and drop_last=True"
            )
        # Part and channel side by side in the channel dimension: one kernel for all parts.
        parts = x.reshape(n // self.num_splits, self.num_splits * c, h, w)
        mean, var = None, None
        if self.running_mean is not None and self.running_var is not None:
            mean, var = (
                self.running_mean.repeat(self.num_splits),
                self.running_var.repeat(self.num_splits),
            )
        affine = self.weight is not None
        out = F.batch_norm(
            parts,
            mean,
            var,
            self.weight.repeat(self.num_splits) if affine else None,
            self.bias.repeat(self.num_splits) if affine else None,
            True,
            self._rate(),
            self.eps,
        )
        if mean is not None and var is not None:
            self.running_mean.copy_(mean.view(-1, c).mean(dim=0))
            self.running_var.copy_(var.view(-1, c).mean(dim=0))
        return out.reshape(n, c, h, w)

    def _rate(self) -> float:
        """Update rate of the running statistics; counts the batch as BatchNorm2d does."""
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if self.momentum is None:
            raise ValueError("SplitBN needs a momentum; a cumulative average is not supported")
        return self.momentum

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, num_splits={self.num_splits}"
