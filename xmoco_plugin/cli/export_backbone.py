# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes a checkpoint's backbone as another library reads it: weights only, and where from."""

import argparse
from pathlib import Path

from xmoco_plugin import export
from xmoco_plugin.checkpoint import CheckpointError


def check_out(source: Path, out: Path, target: str, force: bool) -> None:
    """Checks the name of the file that is to be written.

    Raises:
        ValueError: It is the checkpoint itself, exists, has no folder, or a misleading ending.
    """
    if out.exists() and source.exists() and out.samefile(source):
        raise ValueError(f"{out} is the checkpoint itself: name another file to write.")
    if out.exists() and not force:
        raise ValueError(f"{out} exists: name another file, or add --force to replace it.")
    if not out.parent.is_dir():
        raise ValueError(f"There is no folder {out.parent} to write {out.name} into.")
    if (out.suffix == ".safetensors") != (target == "safetensors"):
        raise ValueError(f"{out}: files for --to safetensors, and no others, end in .safetensors.")
    if target == "detectron2" and out.suffix != ".pth":
        raise ValueError(f"{out}: detectron2 chooses its reader by the ending; name it .pth.")


def main(args: argparse.Namespace) -> None:
    """Exports."""
    source, out = Path(args.checkpoint).expanduser(), Path(args.out).expanduser()
    check_out(source, out, args.to, args.force)
    checkpoint = export.read_weights(source)
    try:
        file = export.prepare_file(
            checkpoint, source, args.to, args.layout, args.encoder, args.prefix
        )
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}\nNothing was written.") from None
    file.write(out)
    report(source, out, file)


def report(source: Path, out: Path, file: export.BackboneFile) -> None:
    """Prints what was found, written and left out."""
    backbone, record, written = file.backbone, file.record, len(file.weights)
    print(f"read:     {source}, sha256 {record['source_sha256'][:12]}")
    print(f"layout:   {record['layout']}, {record['encoder']} encoder, keys {backbone.prefix}*")
    print(f"backbone: {record['architecture']}")
    firsts = sorted({".".join(key.split(".")[:2]) for key in backbone.left_out})
    more = ", ..." if len(firsts) > 6 else ""
    print(f"left out: {len(backbone.left_out)} keys ({', '.join(firsts[:6]) or 'none'}{more})")
    print(f"written:  {out}, {written} keys for {record['target']}, {out.stat().st_size:,} bytes")
    if backbone.note:
        print(f"note:     {backbone.note}")
    if record.get("cfg_left_out"):
        print(f"note:     the model's settings were not written: {record['cfg_left_out']}")
    if backbone.family == "vit":
        heads = record.get("num_heads")
        print(
            f"note:     {heads or 'an unknown number of'} attention heads; the weights do not show "
            f"it, so build the model with num_heads={heads or '...'}"
        )
