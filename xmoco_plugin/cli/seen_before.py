# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Whether the images that a fine-tuning is judged by were in its pretraining."""

from collections.abc import Sequence
from pathlib import Path

from xmoco_plugin import pretraining as own
from xmoco_plugin.data.decode_image import file_digest
from xmoco_plugin.downstream import DownstreamError, judged_images
from xmoco_plugin.findings import Finding
from xmoco_plugin.untrusted import printable

LOOKED_AT = 5000  # files that are read (ours): all of COCO's val


def seen_before(checkpoint: str, root: str | None) -> list[Finding]:
    """A row of the table for each part that the pretraining has seen something of.

    Cheap: contents of files are compared with what a run noted beside its weights. Copies that were
    stored anew are what `xmoco duplicates` finds. Nothing where a run, or the set, is not known.

    Args:
        checkpoint: That the fine-tuning starts with.
        root: Folder of the labelled set.
    """
    folder = Path(checkpoint).expanduser().parent
    if root is None or checkpoint == "scratch" or not (digests := own.trained_on(folder)):
        return []
    try:
        parts = judged_images(Path(root).expanduser())
    except DownstreamError:
        return []  # the fine-tuning says itself what it cannot read
    return [row for part, files in parts.items() for row in _row(part, files, digests, folder)]


def _row(part: str, files: Sequence[str], digests: set[str], folder: Path) -> list[Finding]:
    looked = files[:LOOKED_AT]
    seen = tuple(printable(file) for file in looked if file_digest(file) in digests)
    if not seen:
        return []
    share = f"{len(seen):,} of {len(looked):,} images ({100 * len(seen) / len(looked):.0f} %)"
    text = (
        f"{share} were in the pretraining of {printable(folder)}, so that the result flatters it; "
        "`xmoco duplicates --against` also finds near copies"
    )
    return [Finding("note", part, text, seen)]
