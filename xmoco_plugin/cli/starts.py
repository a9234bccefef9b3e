# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a fine-tuning starts from: weights in any layout that is read, brought into ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from xmoco_plugin.checkpoint import CheckpointError, read_checkpoint, sha256_of
from xmoco_plugin.downstream import pretrained_starts
from xmoco_plugin.export import prepare_file, stands_at
from xmoco_plugin.untrusted import printable

OURS = "backbone."


def bring(cfg: Config, folder: Path, prefix: str | None = None) -> None:
    """Lets every start of a config's ``pretrained`` be a file that the host reads as it is.

    A file in another layout, such as safetensors in timm's names or a compiled model's, is written
    once more into ``folder``, its backbone in mmpretrain's names.

    Args:
        cfg: As from ``prepare``; changed in place.
        folder: Of the run.
        prefix: Of the backbone's keys in the file, where it is given.

    Raises:
        CheckpointError: No backbone is found in the file.
    """
    if not cfg.get("pretrained") or not cfg.get("train_cfg"):
        return
    for init in pretrained_starts(cfg):
        path = str(init.get("checkpoint") or "")
        if not path or "://" in path:
            continue
        checkpoint = read_checkpoint(path, mmap=True)
        if prefix is None and stands_at(checkpoint, init.get("prefix") or ""):
            continue
        if prefix is None and stands_at(checkpoint, OURS):
            init.prefix = OURS
            continue
        init.checkpoint = str(_written(checkpoint, Path(path), folder, prefix))
        init.prefix = OURS


def _written(checkpoint: Mapping[str, Any], source: Path, folder: Path, prefix: str | None) -> Path:
    out = folder / f"pretrained_{sha256_of(source)[:8]}.pth"
    try:
        file = prepare_file(checkpoint, source, "mmpretrain", prefix=prefix)
    except CheckpointError as error:
        raise CheckpointError(f"{printable(source)}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    file.write(out)
    where = f"keys {file.backbone.prefix}*" if file.backbone.prefix else "keys without a prefix"
    keys = f"its backbone, {where}, is"
    print(f"{printable(source)}: {keys} in mmpretrain's names in {printable(out)}", flush=True)
    return out.absolute()
