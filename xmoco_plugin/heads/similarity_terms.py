# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS

from ..losses.pairs import SimilarityTerm
from ..losses.queue_softmax import QueuePass, Wanted

Features = tuple[torch.Tensor, torch.Tensor, torch.Tensor]  # (N, C), (N, C), (C, K), unit norm
NO_FEATURES = (
    "space='backbone' compares the features of the backbone, which XMoCo gives to XMoCoHead, and "
    "which were not given here: use model.type='XMoCo' with XMoCoHead, or space='neck'"
)


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

    @property
    def wants_features(self) -> bool:
        """Whether a term compares the backbone's features."""
        return any(_space_of(term) == "backbone" for term in (self.consistency, self.uniformity))

    def queue_wants(self, chunk_size: int | None) -> list[Wanted]:
        """What the terms read of a pass over the queue in chunks of this size."""
        wants: list[Wanted] = []
        for term in (self.consistency, self.uniformity):
            if _in_chunks_of(term, chunk_size) and term.weight > 0:
                wants += term.queue_wants()
        return wants

    def terms(
        self, q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The weighted terms of one pair of embedding sets; see ``SimilarityTerm.forward``.

        Returns:
            ``loss_consistency`` and ``loss_uniformity``, those that are configured.
        """
        return self.terms_in_spaces(q, k, queue)

    def terms_in_spaces(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        queue: torch.Tensor | None,
        queue_pass: QueuePass | None = None,
        features: Features | None = None,
    ) -> dict[str, torch.Tensor]:
        """:meth:`terms` that share a pass over the queue, or compare features.

        Args:
            queue_pass: has what :meth:`queue_wants` names for its chunk size.
            features: of the backbone, as q, k and queue are: for terms with ``space='backbone'``.

        Raises:
            ValueError: a term compares features, and there are none.
        """
        terms = {"loss_consistency": self.consistency, "loss_uniformity": self.uniformity}
        found = {}
        for name, term in terms.items():
            if _space_of(term) == "backbone":
                if features is None:
                    raise ValueError(NO_FEATURES)
                found[name] = term(*features)
            elif term is not None:
                shares = queue_pass is not None and _in_chunks_of(term, queue_pass.chunk_size)
                found[name] = term(q, k, queue, *([queue_pass] if shares else []))
        return found


def _in_chunks_of(term, chunk_size: int | None) -> bool:
    """Whether it is a term of ours, which another's pass over the queue can serve."""
    return _space_of(term) == "neck" and term.chunk_size == chunk_size


def _space_of(term) -> str | None:
    """None for no term, or another's."""
    return term.space if isinstance(term, SimilarityTerm) else None


def _build(config: dict | None, default_type: str):
    return None if config is None else MODELS.build({"type": default_type, **config})
