# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmpretrain.registry import MODELS

from ..losses import info_nce
from ..losses.pairs import check_embeddings
from ..losses.queue_softmax import CHUNK_SIZE, QueuePass, chunk_for
from ..precision import at_least_float32, without_autocast
from .similarity_terms import Features, SimilarityTerms


@MODELS.register_module()
class XMoCoHead(SimilarityTerms):
    """InfoNCE, cross consistency and uniform similarity of one batch of queries and keys.

    Total = nce_weight * loss_nce + w_c * loss_consistency + w_u * loss_uniformity; see
    docs/method.md. Without the two terms, or with both weights 0, this is MoCo's head. Over a queue
    that is longer than a chunk InfoNCE and the terms share one pass.

    Args:
        temperature: tau > 0 of InfoNCE. Default 0.2, MoCo v2's (v1: 0.07).
        chunk_size: InfoNCE compares with so many keys of the queue at a time, see ``info_nce``; the
            terms have an option of the same name; those that have the same share the pass. None for
            all at once.
        nce_weight: weight >= 0 of InfoNCE in the total. 0 leaves it to a consistency that has the
            own key (``positive=True``), which then is SCE (arXiv 2111.14585).
        consistency, uniformity, init_cfg: see ``SimilarityTerms``.
    """

    def __init__(
        self,
        temperature: float = 0.2,
        consistency: dict | None = None,
        uniformity: dict | None = None,
        chunk_size: int | None = CHUNK_SIZE,
        nce_weight: float = 1.0,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(consistency, uniformity, init_cfg)
        if not nce_weight >= 0:
            raise ValueError(f"nce_weight must not be negative, got {nce_weight}")
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature, self.nce_weight = temperature, nce_weight
        self.chunk_size = chunk_size

    def loss(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        queue: torch.Tensor,
        features: Features | None = None,
    ) -> dict[str, torch.Tensor]:
        """The weighted terms.

        Args:
            q: (N, D), unit norm, with gradient.
            k: (N, D), unit norm, keys of the same images; no gradient flows into it.
            queue: (D, K), unit-norm columns, past keys; no gradient flows into it.
            features: the same of the backbone, for terms with ``space='backbone'``.

        Returns:
            ``loss_nce`` and, where configured, ``loss_consistency`` and ``loss_uniformity``.

        Raises:
            ValueError: for shapes that do not fit, or a batch of one image with a batch term.
        """
        check_embeddings(q, k, queue)
        shared = self._queue_pass(q, k, queue)
        loss_nce = info_nce(q, k, queue, self.temperature, self.chunk_size, shared)
        if self.nce_weight != 1:
            loss_nce = self.nce_weight * loss_nce
        return {"loss_nce": loss_nce, **self.terms_in_spaces(q, k, queue, shared, features)}

    def _queue_pass(
        self, q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor
    ) -> QueuePass | None:
        """One pass over a long queue for InfoNCE and the terms; None for a short queue."""
        chunk = chunk_for(queue, self.chunk_size)
        if chunk is None:
            return None
        wanted = [("q", self.temperature), *self.queue_wants(chunk)]
        with without_autocast(q):
            q, k, queue = at_least_float32(q), at_least_float32(k), at_least_float32(queue)
            return QueuePass(q, k, queue, chunk, wanted)
