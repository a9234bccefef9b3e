# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a fine-tuning starts from: weights in any layout that is read, brought into ours."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from xmoco_plugin.checkpoint import CheckpointError, read_checkpoint, sha256_of
from xmoco_plugin.downstream import pretrained_starts
from xmoco_plugin.export import counted, prepare_file, stands_at
from xmoco_plugin.export.detectors import inputs_from, inputs_of, parts_of
from xmoco_plugin.export.places import weights_in
from xmoco_plugin.untrusted import printable

OURS, TORCHVISIONS = "backbone.", "backbone.body."


def bring_all(configs: Iterable[Config], folder: Path, prefix: str | None = None) -> None:
    """As :func:`bring`, of several configs; what is to be said is printed once."""
    told: dict[str, None] = {}
    for cfg in {id(cfg): cfg for cfg in configs}.values():
        told |= dict.fromkeys(bring(cfg, folder, prefix))
    for line in told:
        print(line, flush=True)


def bring(cfg: Config, folder: Path, prefix: str | None = None) -> list[str]:
    """Lets every start of a config's ``pretrained`` be a file that the host reads as it is.

    A file in another layout, such as safetensors in timm's names or a compiled model's, and a
    detector's or segmentor's, is written once more into ``folder``: its backbone, in mmpretrain's
    names.

    Args:
        cfg: As from ``prepare``; changed in place.
        folder: Of the run.
        prefix: Of the backbone's keys in the file, where it is given.

    Returns:
        What is to be said, a line each.

    Raises:
        CheckpointError: No backbone is found in the file.
    """
    if not cfg.get("pretrained") or not cfg.get("train_cfg"):
        return []
    said: list[str] = []
    for init in pretrained_starts(cfg):
        path = str(init.get("checkpoint") or "")
        if not path or "://" in path:
            continue
        checkpoint = read_checkpoint(path, mmap=True)
        said += _unlike_inputs(cfg, checkpoint, path)
        state = weights_in(checkpoint).state
        detector, place = bool(parts_of(state)), prefix
        if prefix is None and not detector:
            if stands_at(checkpoint, init.get("prefix") or ""):
                continue
            if stands_at(checkpoint, OURS):
                init.prefix = OURS
                continue
        elif prefix is None and not any(key.startswith(TORCHVISIONS) for key in state):
            place = OURS  # whatever family it is of
        out, lines = _written(checkpoint, Path(path), folder, place, detector)
        init.checkpoint, init.prefix = str(out), OURS
        said += lines
    return said


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
    checkpoint: Mapping[str, Any],
    source: Path,
    folder: Path,
    prefix: str | None,
    of_detector: bool,
) -> tuple[Path, list[str]]:
    out = folder / f"pretrained_{sha256_of(source)[:8]}.pth"
    try:
        file = prepare_file(
            checkpoint, source, "mmpretrain", prefix=prefix, of_detector=of_detector
        )
    except CheckpointError as error:
        raise CheckpointError(f"{printable(source)}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    file.write(out)
    where = f"keys {file.backbone.prefix}*" if file.backbone.prefix else "keys without a prefix"
    keys = f"its backbone, {where}, is"
    said = [f"{printable(source)}: {keys} in mmpretrain's names in {printable(out)}"]
    if of_detector:
        said.append(f"  of a detector or segmentor; left out: {counted(file.backbone.left_out)}")
    return out.absolute(), said
