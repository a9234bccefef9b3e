# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""From a checkpoint to a file that another library reads, with every check on the way."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..checkpoint import CheckpointError
from .record import backbone_settings, heads_of, make_record, unlike_others
from .sources import Backbone, find_backbone, is_known
from .targets import architecture, check_architecture, convert, write_backbone


class BackboneFile(NamedTuple):
    """A backbone that can be written.

    Attributes:
        backbone: As it was found in the checkpoint.
        weights: In the target's names.
        record: Plain values that say where the weights are from.
        target: One of :data:`TARGETS`.
    """

    backbone: Backbone
    weights: dict[str, torch.Tensor]
    record: dict[str, Any]
    target: str

    def write(self, path: str | Path) -> None:
        """Write it whole or not at all; see :func:`write_backbone`."""
        write_backbone(path, self.weights, self.record, self.target)


def prepare_file(
    checkpoint: Mapping[str, Any],
    source: str | Path,
    target: str,
    layout: str = "auto",
    encoder: str = "query",
    prefix: str | None = None,
    like: Mapping[str, Any] | None = None,
    of_detector: bool = False,
    **facts: Any,
) -> BackboneFile:
    """Find a checkpoint's backbone, check it, and bring it into another library's names.

    Args:
        checkpoint: As from :func:`read_weights`.
        source: Its file, for the record.
        target: One of :data:`TARGETS`.
        layout: One of :data:`SOURCES`.
        encoder: 'query', or 'key' for the momentum encoder.
        prefix: Of the backbone's keys, where they are not found.
        like: Weights of the model's own backbone, where there is a model.
        of_detector: Whether it may be a detector's or a segmentor's.
        **facts: Further plain values for the record.

    Raises:
        CheckpointError: There is no backbone, it is not finite, or the target has none like it.
    """
    backbone = find_backbone(checkpoint, layout, encoder, prefix, like, of_detector)
    if target != "mmpretrain" or (like is None and not is_known(backbone, checkpoint)):
        check_architecture(backbone.state)
    weights = convert(backbone.state, target)
    settings, known = backbone_settings(checkpoint), architecture(backbone.state)
    unlike = unlike_others(settings, backbone.family)
    if unlike and target not in ("mmpretrain", "mmseg"):
        raise CheckpointError(
            f"This backbone computes something else than {target} would with the same weights, "
            f"because of {'; '.join(unlike)}."
        )
    if backbone.note:
        facts["note"] = backbone.note
    record = make_record(
        checkpoint,
        source,
        layout=backbone.layout,
        encoder=encoder,
        target=target,
        architecture=str(settings.get("type") or known) if known == "unknown" else known,
        num_heads=heads_of(checkpoint) if backbone.family == "vit" else None,
        **facts,
    )
    return BackboneFile(backbone, weights, record, target)
