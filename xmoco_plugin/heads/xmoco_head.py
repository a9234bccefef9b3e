# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS

from ..losses import info_nce
from ..losses.queue_softmax import CHUNK_SIZE


def build_term(config: dict | None, default_type: str):
    """A term from its config, whose ``type`` may be left out; None stays None."""
    return None if config is None else MODELS.build({"type": default_type, **config})


@MODELS.register_module()
class XMoCoHead(BaseModule):
    """InfoNCE, cross consistency and uniform similarity of one batch of queries and keys.

    Total = loss_nce + w_c * loss_consistency + w_u * loss_uniformity; see docs/method.md. Without
    the two terms, or with both weights 0, this is MoCo's head.

    Args:
        temperature: tau > 0 of InfoNCE. Default 0.2, MoCo v2's (v1: 0.07).
        consistency: options of ``CrossConsistencyLoss`` (an empty dict takes its defaults), or
            None for no such term.
        uniformity: options of ``UniformSimilarityLoss``, or None.
        chunk_size: InfoNCE compares with so many keys of the queue at a time, see ``info_nce``; the
            terms have an option of the same name. None for all at once.
        init_cfg: as for every mmengine module; the head has no parameters.
    """

    def __init__(
        self,
        temperature: float = 0.2,
        consistency: dict | None = None,
        uniformity: dict | None = None,
        chunk_size: int | None = CHUNK_SIZE,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, got {temperature}")
        self.temperature = temperature
        self.chunk_size = chunk_size
        self.consistency = build_term(consistency, "CrossConsistencyLoss")
        self.uniformity = build_term(uniformity, "UniformSimilarityLoss")

    def loss(
        self, q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The weighted terms.

        Args:
            q: (N, D), unit norm, with gradient.
            k: (N, D), unit norm, keys of the same images; no gradient flows into it.
            queue: (D, K), unit-norm columns, past keys; no gradient flows into it.

        Returns:
            ``loss_nce`` and, where configured, ``loss_consistency`` and ``loss_uniformity``.

        Raises:
            ValueError: for shapes that do not fit, or a batch of one image with a batch term.
        """
        losses = {"loss_nce": info_nce(q, k, queue, self.temperature, self.chunk_size)}
        if self.consistency is not None:
            losses["loss_consistency"] = self.consistency(q, k, queue)
        if self.uniformity is not None:
            losses["loss_uniformity"] = self.uniformity(q, k, queue)
        return losses
