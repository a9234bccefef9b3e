# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import torch
from mmpretrain.registry import MODELS

from .taught import Shown, Taught


@MODELS.register_module()
class TeacherContrast(Taught):
    """A student whose similarities are to be those that a frozen teacher sees.

    The keys come from a network of any architecture that is not trained and not part of this
    module, see ``Taught``: with stored keys a step is a forward and a backward pass of the student.
    Exports and fine-tuning take ``backbone``, as from ``XMoCo``.

    Args:
        backbone, data_preprocessor, init_cfg: as in mmpretrain's self-supervised algorithms.
        neck: from the backbone's output to the teacher's keys; None gives the backbone's pooled
            output, for terms that need no common space.
        head: ``TeacherHead``, or any head with ``loss(q, k, keys) -> dict``.
        feat_dim: of the teacher's keys.
        num_keys: other images' keys that a step compares with.
        own_crop: the teacher sees the student's crops, not stored once.
        stand_in: keys are noise; only to measure what a step costs.
        channels_last: weights laid out as tensor cores read them. Same values up to rounding.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None,
        head: dict,
        feat_dim: int = 256,
        num_keys: int = 4096,
        own_crop: bool = False,
        stand_in: bool = False,
        channels_last: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(backbone, neck, head, **kwargs)
        self.expect_teacher(self.head, self.neck, feat_dim, num_keys, own_crop, stand_in)
        if own_crop:
            self.queue_len = num_keys  # what HealthHook reads the age of the keys by
        if channels_last:
            self.to(memory_format=torch.channels_last)

    def loss(self, inputs: Sequence[torch.Tensor] | torch.Tensor, data_samples=None, **kwargs):
        """Terms of one batch.

        Args:
            inputs: views, each (n, C, H, W); the mean over them where there are several.
            data_samples: of which ``sample_idx`` is the image's place in the set.

        Returns:
            The head's dict of weighted ``loss_*`` terms.

        Raises:
            RuntimeError: no teacher was handed over.
        """
        views = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        shown = [self.encode(view) for view in views]
        return self.teach(self.head, shown, views, data_samples)

    def encode(self, images: torch.Tensor) -> Shown:
        """(n, C, H, W) -> the student's unit-norm embeddings (n, D) and places, with gradient."""
        return self.show(self.backbone(images), self.neck, self.head)
