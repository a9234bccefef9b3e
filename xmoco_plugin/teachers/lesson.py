# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a run learns from a teacher by: the projection to keys, and the network where it is asked.

A file of the run's folder; it is read like any stranger's.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS

from ..checkpoint import CheckpointError, read_checkpoint, state_dict_of, write_atomic
from ..untrusted import check_model_settings, printable
from .channels import from_text
from .errors import TeacherError
from .network import FrozenTeacher
from .projection import Projection
from .sources import Source
from .stored import Belongs

FILE, FEATURES = "teacher.pth", "teacher_features.bin"
NETWORK, PROJECTION = "backbone.", "projection."
KINDS = dict(images=int, width=int, teacher=str, name=str, size=int, data=str, channels=str)


class Lesson(NamedTuple):
    """What is in the file.

    Attributes:
        projection: From features to keys.
        belongs: What the features are of.
        network: The teacher, where it sees the student's own crops; else None.
    """

    projection: Projection
    belongs: Belongs
    network: FrozenTeacher | None = None


def write_lesson(
    path: Path, projection: Projection, belongs: Belongs, source: Source | None = None
) -> None:
    """Write the file.

    Args:
        path: Of it.
        projection, belongs: See :class:`Lesson`.
        source: The teacher, where it will be asked again.
    """
    state = {PROJECTION + name: value for name, value in projection._asdict().items()}
    meta: dict[str, Any] = dict(belongs=belongs._asdict())
    if source is not None:
        state |= {NETWORK + key: value for key, value in source.backbone.state_dict().items()}
        meta |= dict(settings=source.settings, mean=list(source.mean), std=list(source.std))
        meta |= dict(bgr=source.bgr)
    write_atomic({"state_dict": state, "meta": meta}, path)


def read_lesson(path: Path) -> Lesson:
    """Read the file.

    Raises:
        CheckpointError: It cannot be read.
        TeacherError: It is no such file.
    """
    checkpoint = read_checkpoint(path)
    state, meta = state_dict_of(checkpoint), checkpoint.get("meta")
    try:
        projection = Projection(*(state[PROJECTION + name] for name in Projection._fields))
        facts = {"channels": ""} | meta["belongs"]  # type: ignore[index]
        if {key: type(facts[key]) for key in facts} != KINDS:
            raise TypeError
        belongs = Belongs(**facts)
        if belongs.channels:
            from_text(belongs.channels)
        mean, basis, _ = projection
        if mean.ndim != 1 or basis.ndim != 2 or len(mean) != len(basis) != 0:
            raise ValueError
        if len(mean) != belongs.width:
            raise ValueError
    except (KeyError, TypeError, ValueError, AttributeError):
        raise TeacherError(
            f"{printable(path)} does not say what a teacher's features are: it is damaged, or "
            "another file"
        ) from None
    if not any(key.startswith(NETWORK) for key in state):
        return Lesson(projection, belongs)
    settings = check_model_settings(meta.get("settings") or {}, path)  # type: ignore[union-attr]
    try:
        with DefaultScope.overwrite_default_scope("mmpretrain"), torch.random.fork_rng(devices=[]):
            backbone = MODELS.build(settings)
        backbone.load_state_dict(
            {k.removeprefix(NETWORK): v for k, v in state.items() if k.startswith(NETWORK)}
        )
        inputs = meta["mean"], meta["std"], bool(meta.get("bgr"))  # type: ignore[index,union-attr]
        network = FrozenTeacher(backbone, belongs.size, *inputs, not belongs.channels)
    except (TeacherError, CheckpointError):
        raise
    except Exception as error:  # whatever a network may say of settings that anybody wrote
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TeacherError(
            f"{printable(path)}: no teacher can be built of it: {printable(reason[:200])}"
        ) from error
    return Lesson(projection, belongs, network)
