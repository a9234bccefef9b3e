# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS

from ..losses.teacher_relation import TEMPERATURE

TERMS = {
    "relation": "TeacherRelationLoss",
    "consistency": "TeacherConsistencyLoss",
    "cosine": "TeacherCosineLoss",
}


@MODELS.register_module()
class TeacherHead(BaseModule):
    """The terms of a student's embeddings against the keys of a frozen teacher.

    Each term is off with None, and takes options of its class with a dict. The default is the
    relation alone, which was the best of the three here (docs/lab/teacher.md).

    Args:
        relation: options of ``TeacherRelationLoss``.
        consistency: options of ``TeacherConsistencyLoss``.
        cosine: options of ``TeacherCosineLoss``.
        init_cfg: as for every mmengine module; the terms have no parameters.

    Raises:
        ValueError: there is no term.
    """

    def __init__(
        self,
        relation: dict | None = {},  # noqa: B006  (only read)
        consistency: dict | None = None,
        cosine: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        given = dict(relation=relation, consistency=consistency, cosine=cosine)
        if all(options is None for options in given.values()):
            raise ValueError(f"TeacherHead has no term: give one of {', '.join(TERMS)}")
        for name, options in given.items():
            term = None
            if options is not None:
                term = MODELS.build({"type": TERMS[name], **options})
            setattr(self, name, term)
        # Of what the run's health is judged by: how much likelier a query's own key is.
        self.temperature = getattr(self.relation, "temperature", TEMPERATURE)

    @property
    def common_space(self) -> bool:
        """Whether a term compares the student's embeddings with the teacher's keys."""
        return self.relation is not None or self.cosine is not None

    def loss(self, q: torch.Tensor, k: torch.Tensor, keys: torch.Tensor) -> dict[str, torch.Tensor]:
        """The weighted terms.

        Args:
            q: (N, D), unit norm, of the student, with gradient.
            k: (N, E), unit norm, the teacher's of the same images; no gradient flows into it.
            keys: (E, K), unit-norm columns, the teacher's of other images.

        Returns:
            ``loss_relation``, ``loss_consistency``, ``loss_cosine``: those that are configured.
        """
        terms = {f"loss_{name}": getattr(self, name) for name in TERMS}
        return {name: term(q, k, keys) for name, term in terms.items() if term is not None}
