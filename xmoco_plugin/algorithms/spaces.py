# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What of an image is compared: its embedding and, where a term asks for them, its features."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmpretrain.models import MoCo
from torch import nn

from ..precision import at_least_float32, unit_norm


class MoCoInSpaces(MoCo):
    """MoCo whose images may be points of two spaces, side by side in one row of numbers.

    The embedding always: (n, D), with MoCo's queue. The backbone's features, means over the places
    of its last map, only if the head ``wants_features``: then a row is (D + C) numbers, both parts
    of unit norm, and ``feature_queue`` (C, K) goes slot by slot with the queue. The state dict has
    that key only then.

    Args: as for ``MoCo``.

    Raises:
        ValueError: features are wanted, and the neck's config does not say how many it takes.
    """

    def __init__(self, backbone: dict, neck: dict, head: dict, **kwargs) -> None:
        super().__init__(backbone, neck, head, **kwargs)
        self.in_two_spaces = bool(getattr(self.head, "wants_features", False))
        if self.in_two_spaces:
            width = neck.get("in_channels")
            if width is None:
                raise ValueError(
                    "space='backbone' keeps a queue of features, and must know how many numbers "
                    f"one has: set in_channels of neck={dict(neck)}"
                )
            drawn = F.normalize(torch.randn(width, self.queue_len), dim=0)
            self.register_buffer("feature_queue", drawn)

    @property
    def queues(self) -> list[torch.Tensor]:
        """Each (its dimensions, K), in the order of a row's parts."""
        return [self.queue, self.feature_queue] if self.in_two_spaces else [self.queue]

    @property
    def encoder_parts(self) -> tuple[nn.Module, ...]:
        """What is called of both encoders, each by itself."""
        keys = self.encoder_k.module
        return (self.backbone, self.neck, *(keys if self.in_two_spaces else [keys]))

    def embed(self, encoder: nn.Module, images: torch.Tensor) -> torch.Tensor:
        """Rows (n, D), or (n, D + C), of images by a backbone and a neck, one after the other."""
        if not self.in_two_spaces:
            return unit_norm(encoder(images)[0])
        backbone, neck = getattr(encoder, "module", encoder).children()
        return self.rows(backbone(images), neck)

    def rows(self, maps: Any, neck: nn.Module) -> torch.Tensor:
        """Rows as of :meth:`embed`, of what a backbone gave."""
        row = unit_norm(neck(maps)[0])
        return torch.cat([row, unit_norm(pooled(maps))], dim=1) if self.in_two_spaces else row

    def compare(
        self, q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The head's terms of rows and of the queues below each other, (D, K) or (D + C, K)."""
        if not self.in_two_spaces:
            return self.head.loss(q, k, queue)
        (q, q_f), (k, k_f), (queue, queue_f) = map(self.parts, (q, k, queue.T))
        return self.head.loss(q, k, queue.T, features=(q_f, k_f, queue_f.T))

    def parts(self, rows: torch.Tensor) -> Sequence[torch.Tensor]:
        """Rows (M, D) or (M, D + C), apart."""
        return rows.split([len(queue) for queue in self.queues], dim=1)


def pooled(output: Any) -> torch.Tensor:
    """(n, C): the mean over places, or over tokens, of the last stage of a backbone's output."""
    while isinstance(output, list | tuple):
        output = output[-1]
    output = at_least_float32(output)
    if output.ndim == 4:
        return output.mean(dim=(2, 3))
    return output.mean(dim=1) if output.ndim == 3 else output
