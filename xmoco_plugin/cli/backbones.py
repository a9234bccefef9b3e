# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the tools that judge or use a backbone share: its config, its weights, an option."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmpretrain.registry import MODELS

from xmoco_plugin.checkpoint import (
    CheckpointError,
    StateDifference,
    compare_state,
    describe_difference,
    read_checkpoint,
    state_dict_of,
)
from xmoco_plugin.cli import common
from xmoco_plugin.cli.merging import merge_options
from xmoco_plugin.cli.options.shared import USUAL_SIZE
from xmoco_plugin.distributed import unwrapped
from xmoco_plugin.export import (
    LARGEST_SIZE,
    beside_note,
    find_backbone,
    further_layers,
    meta_of,
    stored_settings,
    training_views,
)
from xmoco_plugin.untrusted import (
    FileRefusedError,
    check_model_settings,
    printable,
    read_text,
)
from xmoco_plugin.views import training_size
from xmoco_plugin.weights import check_kinds

HANDED_ON = "backbone.pth"  # by `xmoco pretrain`, in the run's folder


def image_size(args: argparse.Namespace, cfg: Config) -> tuple[int, str]:
    """Side of the crops that the backbone is judged on, in pixels, and why it is that.

    Raises:
        ValueError: The config's is none that an image can have.
    """
    if args.image_size is not None:
        return args.image_size, "--image-size"
    found = training_size(cfg)
    if found is None:
        size = recorded_size(args.checkpoint)
        if size is not None:
            return size, "that of the training views (the record of the weights)"
        return USUAL_SIZE, "the usual one: neither config nor weights name the training's"
    if not 1 <= found[0] <= LARGEST_SIZE:
        raise ValueError(
            f"the config's {found[1]} makes views of {found[0]:,} px, and sizes up to "
            f"{LARGEST_SIZE:,} are taken from a config: name another with --image-size"
        )
    return found[0], f"that of the training views ({found[1]} in the config)"


def recorded_size(checkpoint: str) -> int | None:
    """Side of the training's views, px, that weights carry, or the config.py beside an export."""
    loaded = read_checkpoint(checkpoint, mmap=True)
    size = training_views(loaded).get("image_size")
    beside = Path(checkpoint).expanduser().with_name("config.py")
    if size is None and "exported_by" in meta_of(loaded) and beside.is_file():
        try:  # an older export, which has no size in its record
            size = training_views({"meta": {"cfg": read_text(beside)}}).get("image_size")
        except FileRefusedError:
            return None
    return size


def load_config(args: argparse.Namespace) -> Config:
    """The config that is named, or the one that mmengine or an export has stored in the checkpoint.

    Weights that were exported without it take the model of the config.py of their run beside them.
    What is stored is a stranger's: it is parsed, and its model has passed the gate. The labelled
    sets in it have not, see :func:`~xmoco_plugin.untrusted.check_run_settings`.

    Raises:
        CheckpointError: There is none, so that the model is not known.
        SettingsRefusedError: What is stored would do more than build a model.
    """
    if args.config:
        cfg = common.load_config(args.config)
    else:
        cfg = Config(_stored(args.checkpoint))
    if args.cfg_options:
        merge_options(cfg, args.cfg_options)
    return cfg


def _stored(checkpoint: str) -> dict[str, Any]:
    """The settings that come with a checkpoint; those that are built first are checked."""
    loaded, path = read_checkpoint(checkpoint, mmap=True), Path(checkpoint).expanduser()
    settings, source = stored_settings(loaded, path)
    meta, beside = meta_of(loaded), path.with_name("config.py")
    # A model that inherits is not whole without what it inherits from.
    if not isinstance(settings.get("model"), dict) or "_base_" in settings:
        hint = f", perhaps {printable(beside)}, which lies beside it" if beside.is_file() else ""
        why = f" ({meta['cfg_left_out']})" if isinstance(meta.get("cfg_left_out"), str) else ""
        raise CheckpointError(
            f"{printable(checkpoint)} does not say which model it belongs to{printable(why)}: name "
            f"its --config{hint}"
        )
    built = {k: settings[k] for k in ("model", "data_preprocessor") if settings.get(k) is not None}
    # Read for the size of the training's views; never built.
    read: dict[str, Any] = {
        k: settings[k] for k in ("train_dataloader", "custom_hooks") if k in settings
    }
    if "train_dataloader" not in read:  # an export has its record instead
        read |= {k: v for k, v in training_views(loaded).items() if k in ("bit_depth", "tiles")}
    return {**check_model_settings(built, source), **read, **_labelled_sets(settings)}


def _labelled_sets(settings: dict[str, Any]) -> dict[str, Any]:
    """The data sets of a kNN loop, where there are both."""
    found = []
    for names in (("val_cfg", "bank_dataloader", "dataset"), ("val_dataloader", "dataset")):
        value: Any = settings
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        found.append(value)
    if not all(isinstance(value, dict) for value in found):
        return {}
    return {
        "val_cfg": {"bank_dataloader": {"dataset": found[0]}},
        "val_dataloader": {"dataset": found[1]},
    }


def weights_of(run: str) -> str:
    """The file of weights that a path means: itself, or what a run in that folder handed on.

    Raises:
        CheckpointError: The folder has no such file.
    """
    folder = Path(os.path.expanduser(run))
    if not os.path.isdir(folder):
        return run
    file = folder / HANDED_ON
    if not file.is_file():
        raise CheckpointError(
            f"{printable(run)} is a folder without {HANDED_ON}, which a run writes at its end: "
            "name one of its checkpoints"
        )
    return str(file)


def build(cfg: Config, checkpoint: str, prefix: str | None = None) -> Any:
    """The config's model with the checkpoint's backbone, on the device.

    Raises:
        CheckpointError: as `load_backbone`; or no model can be built of these settings.
    """
    try:
        model = MODELS.build({"data_preprocessor": cfg.get("data_preprocessor"), **cfg.model})
    except Exception as error:  # whatever a model may say of settings that anybody wrote
        if "unexpected keyword argument" in str(error):
            raise  # said by the setting's name
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{checkpoint}: no model can be built of its settings ({printable(reason[:200])}): "
            "name the --config that it was trained with."
        ) from error
    load_backbone(model, checkpoint, prefix)
    return model.to(get_device())


def load_backbone(model: Any, path: str, prefix: str | None = None) -> None:
    """Loads what the model has of a checkpoint's weights; the whole backbone must be there.

    Of a checkpoint whose keys are not the model's own, the backbone is taken from wherever
    :func:`~xmoco_plugin.export.find_backbone` finds it.

    Args:
        model: With a ``backbone``.
        path: Of the checkpoint.
        prefix: Of the backbone's keys, where it is given.

    Raises:
        CheckpointError: it cannot be read, holds no backbone, or another one.
    """
    model = unwrapped(model)
    checkpoint = read_checkpoint(path)
    ours, theirs = model.state_dict(), state_dict_of(checkpoint)
    difference = compare_state(_backbone(ours), _backbone(theirs))
    note = beside_note(checkpoint)
    wanted = _bare(ours)
    deeper = further_layers(wanted, _bare(theirs))
    if prefix is not None or difference.missing or difference.mismatched or deeper:
        try:
            found = find_backbone(checkpoint, prefix=prefix, like=wanted)
        except CheckpointError as error:
            why = f"{printable(path)}: {error}"
            if prefix is None and _backbone(theirs).keys() & ours.keys():  # part of one, or wider
                why = _other(path, difference)
            raise CheckpointError(why) from None
        note = found.note
        theirs = {f"backbone.{k}": v for k, v in found.state.items()}
        difference = compare_state(_backbone(ours), theirs)
        deeper = further_layers(wanted, found.state)
    if difference.missing or difference.mismatched or deeper:
        raise CheckpointError(_other(path, difference))
    if note:
        print(f"{printable(path)}: {note}.", file=sys.stderr)
    check_kinds(ours, theirs)
    fitting = {k: v for k, v in theirs.items() if k in ours and v.shape == ours[k].shape}
    model.load_state_dict(fitting, strict=False)


def _other(path: str, difference: StateDifference) -> str:
    return f"{path} does not hold the backbone of this config:\n{describe_difference(difference)}"


def _bare(state: dict) -> dict:
    return {key.removeprefix("backbone."): value for key, value in _backbone(state).items()}


def _backbone(state: dict) -> dict:
    return {key: value for key, value in state.items() if key.startswith("backbone.")}
