# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What fine-tunings start from, if it may be a detector's file: of that the backbone alone."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from xmoco_plugin.checkpoint import CheckpointError, read_checkpoint, sha256_of
from xmoco_plugin.cli.starts import OURS, bring
from xmoco_plugin.downstream import pretrained_starts
from xmoco_plugin.export import counted, prepare_file
from xmoco_plugin.export.detectors import inputs_from, inputs_of, parts_of
from xmoco_plugin.export.places import weights_in
from xmoco_plugin.untrusted import printable

TORCHVISIONS = "backbone.body."  # before the keys of a backbone, in torchvision's detectors


def bring_all(configs: Iterable[Config], folder: Path, prefix: str | None = None) -> None:
    """As :func:`~.starts.bring`, of several configs, whose weights may be a detector's.

    Of these the backbone is written into ``folder``. What there is to say is said once.

    Args:
        configs: As from ``prepare``; changed in place.
        folder: Of the run.
        prefix: Of the backbone's keys in the file, where it is given.

    Raises:
        CheckpointError: No backbone is found in the file.
    """
    told: dict[str, None] = {}
    for cfg in {id(cfg): cfg for cfg in configs}.values():
        if not cfg.get("pretrained") or not cfg.get("train_cfg"):
            continue
        taken = False
        for init in pretrained_starts(cfg):
            path = str(init.get("checkpoint") or "")
            if not path or "://" in path:
                continue
            checkpoint = read_checkpoint(path, mmap=True)
            told |= dict.fromkeys(_unlike_inputs(cfg, checkpoint, path))
            if parts_of(weights_in(checkpoint).state):
                out, lines = _written(checkpoint, Path(path), folder, prefix)
                init.checkpoint, init.prefix, taken = str(out), OURS, True
                told |= dict.fromkeys(lines)
        bring(cfg, folder, None if taken else prefix)
    for line in told:
        print(line, flush=True)


def _unlike_inputs(cfg: Config, checkpoint: Mapping[str, Any], path: str) -> list[str]:
    """What is to be said where weights are from a network that got its images otherwise."""
    seen, now = inputs_of(checkpoint), inputs_from(cfg)
    if seen and now and not seen.is_like(now):
        return [
            f"warning: {printable(path)} is from a network that got its images as {seen}, this "
            f"config gives them as {now}: set model.data_preprocessor to the former."
        ]
    return []


def _written(
    checkpoint: Mapping[str, Any], source: Path, folder: Path, prefix: str | None
) -> tuple[Path, list[str]]:
    """The file with a detector's backbone in mmpretrain's names, and what is to be said of it."""
    out = folder / f"pretrained_{sha256_of(source)[:8]}.pth"
    state = weights_in(checkpoint).state
    if prefix is None and not any(key.startswith(TORCHVISIONS) for key in state):
        prefix = OURS  # whatever family it is of
    try:
        file = prepare_file(checkpoint, source, "mmpretrain", prefix=prefix, of_detector=True)
    except CheckpointError as error:
        raise CheckpointError(f"{printable(source)}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    file.write(out)
    return out.absolute(), [
        f"{printable(source)}: its backbone, keys {file.backbone.prefix}*, is in mmpretrain's "
        f"names in {printable(out)}",
        f"  of a detector or segmentor; left out: {counted(file.backbone.left_out)}",
    ]
