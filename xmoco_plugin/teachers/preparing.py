# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is done with a teacher before a run: a sample, its figures, then all images once."""

from collections.abc import Callable
from pathlib import Path

import torch

from .lesson import FEATURES, FILE, write_lesson
from .projection import DIMS, Projection, fit_projection
from .sources import Source
from .stored import Ask, Belongs, StoredFeatures, computing_order, refuse_broken

SAMPLE = 4096  # images that the directions are found on, and figures made of (ours)
BATCH = 64


def prepare_lesson(
    folder: Path,
    source: Source,
    ask: Ask,
    belongs: Belongs,
    own_crop: bool = False,
    dims: int = DIMS,
    look: Callable[[torch.Tensor, Projection], None] = lambda features, projection: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    as_listed: bool = False,
) -> Projection:
    """Write ``teacher.pth`` and, unless it is asked in each step, ``teacher_features.bin``.

    Args:
        folder: Of the run.
        source, ask, belongs: The teacher, how it is asked, what its features are of.
        own_crop: Whether it is asked again in each step.
        dims: Of the keys, at most.
        look: Gets the features of a sample and the projection before all images are computed; may
            raise to stop.
        progress: Called with how many images are done, and of how many.
        as_listed: See :func:`computing_order`.

    Raises:
        TeacherError: Of what :class:`StoredFeatures` and :func:`fit_projection` refuse.
    """
    stored = None if own_crop else StoredFeatures(folder / FEATURES, belongs, as_listed)
    if stored is None:
        places = computing_order(belongs.images, as_listed)[:SAMPLE]
        batches = [places[i : i + BATCH] for i in range(0, len(places), BATCH)]
        parts = []
        for rows, part in zip(batches, ask(batches), strict=True):
            refuse_broken(part, rows, belongs.width)
            parts.append(part.cpu())
        features = torch.cat(parts)
    else:
        stored.fill(ask, BATCH, upto=SAMPLE, progress=progress)
        features = stored.sample(SAMPLE)
    projection = fit_projection(features, dims)
    look(features, projection)
    if stored is not None:
        stored.fill(ask, BATCH, progress=progress)
    write_lesson(folder / FILE, projection, belongs, source if own_crop else None)
    return projection
