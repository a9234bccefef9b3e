# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from pathlib import Path
from typing import Any

from mmpretrain.registry import MODELS

from ..checkpoint import CheckpointError, compare_state, describe_difference, write_atomic
from ..export import find_backbone, read_weights
from ..untrusted import printable
from ..weights import check_kinds
from .backbones import Outputs
from .choices import Choices
from .first_convolution import widened
from .run_config import model_config

KEY_ENCODERS = ("encoder_k.module.0.", "momentum_encoder.module.0.")


def first_weights(
    init: str,
    choices: Choices,
    outputs: Outputs,
    folder: Path,
    prefix: str | None = None,
    model_settings: dict[str, Any] | None = None,
) -> str:
    """Write a checkpoint with a given backbone in both encoders; neck and queue start anew.

    Args:
        init: A checkpoint of ours or of another library, see ``export.find_backbone``.
        choices, outputs: Of the run.
        folder: Of the run.
        prefix: Of the backbone's keys, where they are not found.
        model_settings: Config of the algorithm. Defaults to that of :func:`model_config`.

    Returns:
        The file, for ``load_from``.

    Raises:
        CheckpointError: It holds another backbone.
    """
    model = MODELS.build(model_settings or model_config(choices, outputs))
    found = find_backbone(read_weights(init), prefix=prefix, like=model.backbone.state_dict())
    given = widened(found.state, model.backbone.state_dict())
    if found.note:
        print(f"--init {printable(init)}: {found.note}.")
    difference = compare_state(model.backbone.state_dict(), given)
    if difference.missing or difference.mismatched:
        raise CheckpointError(
            f"--init {init} holds another backbone than {choices.model}:\n"
            f"{describe_difference(difference)}"
        )
    check_kinds(model.backbone.state_dict(), given)
    keys = model.state_dict().keys()
    state = {
        prefix + key: given[key]
        for prefix in ("backbone.", *KEY_ENCODERS)
        for key in model.backbone.state_dict()
        if key in given and prefix + key in keys
    }
    # The hook that guards checkpoints fills in the rest, which keeps its first values.
    write_atomic({"state_dict": state, "meta": {"backbone_alone": True}}, folder / "init.pth")
    return str(folder / "init.pth")
