# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a fine-tuning starts from: weights in any layout that is read, brought into ours."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from xmoco_plugin.checkpoint import CheckpointError, read_checkpoint, sha256_of
from xmoco_plugin.cli.host_backbone import HostBackbone, check_family, set_image_size
from xmoco_plugin.downstream import pretrained_starts
from xmoco_plugin.export import prepare_file, stands_at
from xmoco_plugin.export.arrival import read_backbone
from xmoco_plugin.export.names import vit_library
from xmoco_plugin.untrusted import printable

OURS = "backbone."


def bring(cfg: Config, folder: Path, prefix: str | None = None) -> None:
    """Lets every start of a config's ``pretrained`` be a file that the host reads as it is.

    A file in another layout, such as safetensors in timm's names or a compiled model's, is written
    once more into ``folder``, its backbone in mmpretrain's names, or in mmseg's for a ViT of it.
    A ViT is built for the size of the images that the weights were trained on.

    Args:
        cfg: As from ``prepare``; changed in place.
        folder: Of the run.
        prefix: Of the backbone's keys in the file, where it is given.

    Raises:
        CheckpointError: No backbone is found in the file, or another one than the config builds.
    """
    if not cfg.get("pretrained") or not cfg.get("train_cfg"):
        return
    host = HostBackbone.of(cfg)
    for init in pretrained_starts(cfg):
        path = str(init.get("checkpoint") or "")
        if not path or "://" in path:
            continue
        checkpoint = read_checkpoint(path, mmap=True)
        target = "mmseg" if host is not None and host.in_mmseg_names else "mmpretrain"
        if target == "mmseg" and is_mmseg_vit(checkpoint):
            init.prefix = None
        elif target == "mmseg" or prefix is not None:
            _rewrite(init, checkpoint, folder, prefix, target)
        elif not stands_at(checkpoint, init.get("prefix") or ""):
            if stands_at(checkpoint, OURS):
                init.prefix = OURS
            else:
                _rewrite(init, checkpoint, folder, prefix, target)
        if host is not None and init is cfg.model.backbone.get("init_cfg"):
            _compare(cfg, host, init, checkpoint)


def is_mmseg_vit(checkpoint: Mapping[str, Any]) -> bool:
    """Whether a file holds a ViT alone, in mmseg's names."""
    return vit_library(checkpoint.get("state_dict", checkpoint)) == "mmseg"


def _compare(cfg: Config, host: HostBackbone, init: Any, checkpoint: Mapping[str, Any]) -> None:
    """Checks that weights fit the config's backbone, as far as it has no other size of images."""
    weights = read_backbone(init.checkpoint, init.get("prefix"))[1]
    if side := set_image_size(cfg, weights):
        print(f"img_size={side}: the size that the weights' positions are for", flush=True)
        host = HostBackbone.of(cfg) or host
    try:
        check_family(cfg, host, weights, checkpoint)
    except CheckpointError as error:
        raise CheckpointError(f"{printable(init.checkpoint)}: {error}") from None


def _rewrite(
    init: Any, checkpoint: Mapping[str, Any], folder: Path, prefix: str | None, target: str
) -> None:
    """Writes a file that the host reads, and names it in ``init_cfg``."""
    source = Path(str(init.checkpoint))
    out = folder / f"pretrained_{sha256_of(source)[:8]}{'_mmseg' * (target == 'mmseg')}.pth"
    try:
        file = prepare_file(checkpoint, source, target, prefix=prefix)
    except CheckpointError as error:
        raise CheckpointError(f"{printable(source)}: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    file.write(out)
    where = f"keys {file.backbone.prefix}*" if file.backbone.prefix else "keys without a prefix"
    keys = f"its backbone, {where}, is"
    print(f"{printable(source)}: {keys} in {target}'s names in {printable(out)}", flush=True)
    init.checkpoint = str(out.absolute())
    init.prefix = None if target == "mmseg" else OURS
