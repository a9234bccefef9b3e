# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What eval_knn.py and evaluate.py share: a checkpoint's backbone in a model, an option."""

import xmoco_plugin  # noqa: F401  # isort: skip  (first: it says in plain words what the stack lacks)

from typing import Any

from xmoco_plugin.checkpoint import (
    CheckpointError,
    compare_state,
    describe_difference,
    read_checkpoint,
    state_dict_of,
)
from xmoco_plugin.distributed import unwrapped
from xmoco_plugin.export import find_backbone


def temperature(text: str) -> float | None:
    """A number, or None for "none": what --temperature takes."""
    return None if text.lower() == "none" else float(text)


def load_backbone(model: Any, path: str) -> None:
    """Loads what the model has of a checkpoint's weights; the whole backbone must be there.

    Checkpoints of other layouts, such as FAIR's MoCo, give their backbone only.

    Raises:
        CheckpointError: it cannot be read, holds no backbone, or another one.
    """
    model = unwrapped(model)
    checkpoint = read_checkpoint(path)
    ours, theirs = model.state_dict(), state_dict_of(checkpoint)
    if not any(key.startswith("backbone.") for key in theirs):
        theirs = {f"backbone.{k}": v for k, v in find_backbone(checkpoint).state.items()}
    difference = compare_state(_backbone(ours), _backbone(theirs))
    if difference.missing or difference.mismatched:
        raise CheckpointError(
            f"{path} does not hold the backbone of this config:\n{describe_difference(difference)}"
        )
    fitting = {k: v for k, v in theirs.items() if k in ours and v.shape == ours[k].shape}
    model.load_state_dict(fitting, strict=False)


def _backbone(state: dict) -> dict:
    return {key: value for key, value in state.items() if key.startswith("backbone.")}
