# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes a checkpoint's backbone as another library reads it, or into a detector's checkpoint."""

import argparse
from pathlib import Path

from xmoco_plugin import export
from xmoco_plugin.checkpoint import CheckpointError, write_atomic
from xmoco_plugin.cli import backbones
from xmoco_plugin.untrusted import printable

NOTHING = "Nothing was written."


def check_out(sources: list[Path], out: Path, target: str | None, force: bool) -> None:
    """Checks the name of the file that is to be written.

    Args:
        sources: Files that are read.
        out: The file.
        target: Who will read it; None for a detector's checkpoint.
        force: Whether an older one is replaced.

    Raises:
        ValueError: It is a file that is read, exists, has no folder, or a misleading ending.
    """
    for source in sources:
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
    source = Path(backbones.weights_of(args.checkpoint)).expanduser()
    out = Path(args.out).expanduser()
    detector = Path(args.into).expanduser() if args.into else None
    check_out([source, *([detector] if detector else [])], out, args.to, args.force)
    checkpoint = export.read_weights(source)
    target = args.to or "mmpretrain"
    try:
        file = export.prepare_file(
            checkpoint, source, target, args.layout, args.encoder, args.prefix
        )
    except CheckpointError as error:
        raise CheckpointError(f"{source}: {error}\n{NOTHING}") from None
    if detector is None:
        file.write(out)
        report(source, out, file)
        return
    try:
        merged = export.put_into(
            export.read_weights(detector), file.backbone, checkpoint, file.record
        )
    except CheckpointError as error:
        raise CheckpointError(f"--into {printable(detector)}: {error}\n{NOTHING}") from None
    write_atomic(merged.checkpoint, out)
    report_merged(source, detector, out, file, merged)


def report(source: Path, out: Path, file: export.BackboneFile) -> None:
    """Prints what was found, written and left out."""
    backbone, record, written = file.backbone, file.record, len(file.weights)
    report_source(source, file)
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


def report_source(source: Path, file: export.BackboneFile) -> None:
    """Prints what was read."""
    record = file.record
    print(f"read:     {source}, sha256 {record['source_sha256'][:12]}")
    print(
        f"layout:   {record['layout']}, {record['encoder']} encoder, keys {file.backbone.prefix}*"
    )
    print(f"backbone: {record['architecture']}")


def report_merged(
    source: Path, detector: Path, out: Path, file: export.BackboneFile, merged: export.Merged
) -> None:
    """Prints what of a detector's checkpoint is new, kept and gone."""
    report_source(source, file)
    print(f"into:     {detector}, {len(merged.replaced):,} tensors of its backbone replaced")
    print(f"kept:     {export.counted(merged.kept)}, and every other entry as it was")
    if merged.dropped:
        print(f"dropped:  {', '.join(merged.dropped)}, which belong to the old weights")
    print(f"written:  {out}, {out.stat().st_size:,} bytes")
    for note in merged.notes:
        print(f"note:     {note}")
