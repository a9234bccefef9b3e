# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmpretrain.models import DenseCL
from mmpretrain.registry import MODELS

from ..outputs import outputs_of
from .pairs import leave_pairs_to


@MODELS.register_module()
class RegularizedDenseCL(DenseCL):
    """DenseCL (arXiv 2011.09157) that also gives its ``RegularizedHead`` the embeddings.

    mmpretrain's DenseCL hands its head similarities alone. The terms compare the global pair, and
    the queue of global keys as it was before this step.

    Args:
        dense_pair: also compare the dense pair, as the host enqueues it: the mean over places of
            the dense embeddings, with the queue of such keys. The two pairs' terms are then
            weighted as the host weights its two losses, by ``loss_lambda``.
        args, kwargs: of ``DenseCL``, with ``head=dict(type='RegularizedHead', head=..., ...)``.
    """

    def __init__(self, *args, dense_pair: bool = False, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        leave_pairs_to(self)
        self.dense_pair = dense_pair
        self._keys: dict[str, torch.Tensor] = {}

    def loss(self, inputs: list[torch.Tensor], data_samples=None, **kwargs) -> dict:
        """DenseCL's ``loss_single`` and ``loss_dense``, and the terms."""
        queue, queue2 = self.queue.clone(), self.queue2.clone()
        with outputs_of(self.neck) as outputs:
            losses = super().loss(inputs, data_samples, **kwargs)
        q, _, q2 = outputs[0]  # (n, D), (n, D, places), (n, D)
        terms = self.head.terms(q, self._keys["queue"], queue)
        if self.dense_pair:
            dense = self.head.terms(q2, self._keys["queue2"], queue2)
            terms = {n: terms[n].lerp(dense[n], self.loss_lambda) for n in terms}
        return {**losses, **terms}

    def _dequeue_and_enqueue(self, keys: torch.Tensor) -> None:
        """Keep this rank's keys, (n, D), which the host has brought back into their order."""
        self._keys["queue"] = keys
        super()._dequeue_and_enqueue(keys)

    def _dequeue_and_enqueue2(self, keys: torch.Tensor) -> None:
        """Keep this rank's dense keys, (n, D)."""
        self._keys["queue2"] = keys
        super()._dequeue_and_enqueue2(keys)
