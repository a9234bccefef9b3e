# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmpretrain.models.heads import SwAVHead
from mmpretrain.registry import MODELS

from .regularized_head import RegularizedHead


@MODELS.register_module()
class RegularizedSwAVHead(RegularizedHead):
    """``RegularizedHead`` for SwAV (arXiv 2006.09882), whose head gets all crops in one tensor.

    q and k are the embeddings, before the prototypes, of the two crops that SwAV assigns to
    clusters, both with gradient; the small crops are left out. The queue is SwAV's own queue of
    features of the second crop, as it was before this step: it differs between processes, and
    while it is empty the terms that read it are 0.

    Args: see ``RegularizedHead``; ``head`` is a ``SwAVHead``.
    """

    def check_host(self) -> None:
        """Raise ValueError unless the host's head is SwAV's and assigns two crops."""
        if not isinstance(self.head, SwAVHead):
            raise ValueError(self._unfit("is not SwAV's"))
        crops = self.head.loss_module.crops_for_assign
        if len(crops) != 2:
            raise ValueError(
                f"RegularizedSwAVHead pairs the two crops that SwAV assigns to clusters, but "
                f"crops_for_assign is {crops}"
            )

    def loss(self, pred: torch.Tensor) -> torch.Tensor:
        """SwAV's loss plus the terms.

        Args:
            pred: (sum(num_crops) * n, D), unit norm: the n images' first crops, their second, ...
        """
        host = self.head.loss_module
        crops = pred.unflatten(0, (sum(host.num_crops), -1))  # (crops, n, D)
        q, k = (crops[crop] for crop in host.crops_for_assign)
        queue = pred.new_empty(pred.shape[1], 0)
        if host.queue is not None:
            keys = host.queue[1]  # (K, D), zero where no feature has come yet
            queue = keys[keys.any(dim=1)].T
        # A copy by indexing: the host's loss moves the queue.
        return self.with_terms(self.head.loss(pred), q, k, queue)
