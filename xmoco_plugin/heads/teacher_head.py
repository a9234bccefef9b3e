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
DENSE = "TeacherDenseLoss"


@MODELS.register_module()
class TeacherHead(BaseModule):
    """The terms of a student's embeddings against the keys of a frozen teacher.

    Each term is off with None, and takes options of its class with a dict. The default is the
    relation alone, which was the best of the three here (docs/lab/teacher.md).

    Args:
        relation: options of ``TeacherRelationLoss``.
        consistency: options of ``TeacherConsistencyLoss``.
        cosine: options of ``TeacherCosineLoss``.
        dense: options of ``TeacherDenseLoss``, which compares the places of feature maps and not
            images; for a teacher that sees the student's own crop.
        init_cfg: as for every mmengine module; the terms have no parameters.

    Raises:
        ValueError: there is no term.
    """

    keys_of_teacher = True  # for who watches: they are of no momentum encoder

    def __init__(
        self,
        relation: dict | None = {},  # noqa: B006  (only read)
        consistency: dict | None = None,
        cosine: dict | None = None,
        dense: dict | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(init_cfg=init_cfg)
        given = dict(relation=relation, consistency=consistency, cosine=cosine)
        if dense is None and all(options is None for options in given.values()):
            raise ValueError(f"TeacherHead has no term: give one of {', '.join(TERMS)}, dense")
        for name, options in given.items():
            term = None
            if options is not None:
                term = MODELS.build({"type": TERMS[name], **options})
            setattr(self, name, term)
        self.dense = None if dense is None else MODELS.build({"type": DENSE, **dense})
        # Of what the run's health is judged by: how much likelier a query's own key is.
        self.temperature = getattr(self.relation, "temperature", TEMPERATURE)

    @property
    def common_space(self) -> bool:
        """Whether a term compares the student's embeddings with the teacher's keys."""
        return self.relation is not None or self.cosine is not None

    @property
    def wants_embeddings(self) -> bool:
        """Whether a term compares images, and not their places alone."""
        return self.common_space or self.consistency is not None

    @property
    def wants_places(self) -> bool:
        """Whether a term compares the places of feature maps."""
        return self.dense is not None

    def loss(
        self,
        q: torch.Tensor,
        k: torch.Tensor,
        keys: torch.Tensor,
        q_places: torch.Tensor | None = None,
        k_places: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """The weighted terms.

        Args:
            q: (N, D), unit norm, of the student, with gradient.
            k: (N, E), unit norm, the teacher's of the same images; no gradient flows into it.
            keys: (E, K), unit-norm columns, the teacher's of other images.
            q_places, k_places: (N, D, h, w) and (N, E, H, W), the maps of the same crops, for
                ``dense``.

        Returns:
            ``loss_relation``, ``loss_consistency``, ``loss_cosine``, ``loss_dense``: those that are
            configured.

        Raises:
            ValueError: ``dense`` got no maps.
        """
        terms = {f"loss_{name}": getattr(self, name) for name in TERMS}
        found = {name: term(q, k, keys) for name, term in terms.items() if term is not None}
        if self.dense is not None:
            if q_places is None or k_places is None:
                raise ValueError(
                    "dense compares feature maps, and the algorithm gave TeacherHead none: use "
                    "model.type='TeacherContrast' or 'TaughtXMoCo', or dense=None"
                )
            found["loss_dense"] = self.dense(q_places, k_places)
        return found
