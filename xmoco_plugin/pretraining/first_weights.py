# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
from pathlib import Path
from typing import Any

from mmpretrain.registry import MODELS

from ..checkpoint import CheckpointError, compare_state, describe_difference, write_atomic
from ..export import find_backbone, further_layers, read_weights
from ..export.detectors import parts_of
from ..export.places import weights_in
from ..untrusted import printable
from ..weights import check_kinds
from .backbones import Outputs
from .chosen import Choices
from .first_convolution import widened
from .offered import said_of
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
        init: A checkpoint of ours, of another library, or of a detector or segmentor, see
            ``export.find_backbone``.
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
    checkpoint = read_weights(init)
    detector = bool(parts_of(weights_in(checkpoint).state))
    found = find_backbone(
        checkpoint, prefix=prefix, like=model.backbone.state_dict(), of_detector=detector
    )
    given = widened(found.state, model.backbone.state_dict())
    for note in filter(None, (detector and said_of(found, checkpoint), found.note)):
        print(f"--init {printable(init)}: {note}.")
    difference = compare_state(model.backbone.state_dict(), given)
    deeper = further_layers(model.backbone.state_dict(), given)
    if difference.missing or difference.mismatched or deeper:
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
    meta: dict[str, Any] = {"backbone_alone": True}
    if detector and all(given[key] is value for key, value in found.state.items()):
        # A first convolution for other channels has no way back into the detector.
        meta["detector"] = os.path.abspath(os.path.expanduser(init))
    write_atomic({"state_dict": state, "meta": meta}, folder / "init.pth")
    return str(folder / "init.pth")
