# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmpretrain.models import SimCLR
from mmpretrain.registry import MODELS

from ..outputs import outputs_of
from .pairs import leave_pairs_to


@MODELS.register_module()
class RegularizedSimCLR(SimCLR):
    """SimCLR (arXiv 2002.05709) that also gives its ``RegularizedHead`` the embeddings.

    mmpretrain's SimCLR hands its head similarities alone, gathered over the ranks without the
    gradient of other ranks' rows.

    Args: as for ``SimCLR``, with ``head=dict(type='RegularizedHead', head=..., ...)``.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        leave_pairs_to(self)

    def loss(self, inputs: list[torch.Tensor], data_samples=None, **kwargs) -> dict:
        """SimCLR's loss as ``loss_host``, and the terms; q is view 1, k is view 2."""
        with outputs_of(self.neck) as outputs:
            losses = super().loss(inputs, data_samples, **kwargs)
        z = outputs[0][0]  # (2n, D): the two views of an image are neighbours
        return self.head.with_terms(losses, z[0::2], z[1::2])
