# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from typing import Any

import torch
from mmpretrain.registry import MODELS

from .taught import Shown, Taught
from .xmoco import XMoCo


@MODELS.register_module()
class TaughtXMoCo(Taught, XMoCo):
    """XMoCo with a frozen teacher beside it, for images that are far from what the teacher knows.

    One backbone, two necks: what the query gives goes to the momentum encoder's keys by ``neck``
    and to the teacher's by ``teacher_neck``. The total is that of both heads: InfoNCE counts by
    ``nce_weight`` of ``head``, each of the teacher's terms by its ``loss_weight``. The state dict
    is XMoCo's with ``teacher_neck`` and ``seen`` beside it; exports take ``backbone``.

    Args:
        teacher_neck: from the backbone's output to the teacher's keys, or None for terms that need
            no common space.
        teacher_head: ``TeacherHead``, or any head with ``loss(q, k, keys) -> dict``.
        teacher_dims: of the teacher's keys.
        num_keys: other images' keys of the teacher that a step compares with.
        own_crop: the teacher sees the student's query view, not stored once.
        stand_in: the teacher's keys are noise; only to measure what a step costs.
        **kwargs: of ``XMoCo``.
    """

    teacher_queue_name = "teacher_queue"

    def __init__(
        self,
        *args,
        teacher_neck: dict | None,
        teacher_head: dict,
        teacher_dims: int = 256,
        num_keys: int = 4096,
        own_crop: bool = False,
        stand_in: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.teacher_neck = None if teacher_neck is None else MODELS.build(teacher_neck)
        self.teacher_head = MODELS.build(teacher_head)
        self._shown: list[Shown] = []
        taught = (self.teacher_head, self.teacher_neck, teacher_dims)
        self.expect_teacher(*taught, num_keys, own_crop, stand_in)

    def loss(self, inputs: list[torch.Tensor], data_samples: Any = None, **kwargs) -> dict:
        """Terms of one batch; moves the key encoder and the queues.

        Args:
            inputs: two views, each (n, 3, H, W), as of ``XMoCo``.
            data_samples: of which ``sample_idx`` is the image's place in the set.

        Returns:
            The terms of ``head``, and those of ``teacher_head`` as ``loss_teacher_*``.
        """
        self._shown = []  # filled by encode_query, once a pass
        terms = super().loss(inputs, data_samples, **kwargs)
        shown, self._shown = self._shown, []
        taught = self.teach(self.teacher_head, shown, inputs[: len(shown)], data_samples)
        named = {name.replace("loss_", "loss_teacher_", 1): value for name, value in taught.items()}
        return {**terms, **named}

    def encode_query(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W) -> unit-norm queries, as of ``XMoCo``; the teacher's part is put aside."""
        maps = self.backbone(images)
        self._shown.append(self.show(maps, self.teacher_neck, self.teacher_head))
        return self.rows(maps, self.neck)
