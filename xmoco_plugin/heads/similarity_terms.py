# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS


class SimilarityTerms(BaseModule):
    """Base of the heads: the two terms, each of which may be absent.

    Args:
        consistency: options of ``CrossConsistencyLoss`` (an empty dict takes its defaults; a
            ``type`` puts another term in its place), or None for no such term.
        uniformity: options of ``UniformSimilarityLoss``, or None.
        init_cfg: as for every mmengine module; the terms have no parameters.
    """

    def __init__(
        self,
        consistency: dict | None = None,
        uniformity: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        self.consistency = _build(consistency, "CrossConsistencyLoss")
        self.uniformity = _build(uniformity, "UniformSimilarityLoss")

    def terms(
        self, q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The weighted terms of one pair of embedding sets; see ``SimilarityTerm.forward``.

        Returns:
            ``loss_consistency`` and ``loss_uniformity``, those that are configured.
        """
        terms = {"loss_consistency": self.consistency, "loss_uniformity": self.uniformity}
        return {name: term(q, k, queue) for name, term in terms.items() if term is not None}


def _build(config: dict | None, default_type: str):
    return None if config is None else MODELS.build({"type": default_type, **config})
