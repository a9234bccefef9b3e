# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Whether the images that a fine-tuning is judged by were in its pretraining."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.config import Config

from xmoco_plugin import pretraining as own
from xmoco_plugin.data.decode_image import file_digest
from xmoco_plugin.downstream import DownstreamError, judged_by, judged_images
from xmoco_plugin.findings import Finding
from xmoco_plugin.untrusted import printable

LOOKED_AT = 5000  # files of a part that are read (ours): all of COCO's val


def seen_before(checkpoints: Sequence[str], cfg: Config, root: str | None = None) -> list[Finding]:
    """A row of the table for each part and each pretraining that has seen something of it.

    Cheap: contents of files are compared with what a run noted beside its weights; each is read
    once, whatever the number of runs. Copies that were stored anew are what `xmoco duplicates`
    finds. Nothing where a run, or the set, is not known.

    Args:
        checkpoints: That fine-tunings start with.
        cfg: Of the fine-tuning, whose val and test sets count.
        root: Folder of the labelled set, whose layout counts where the config's sets are not known.
    """
    folders = dict.fromkeys(
        Path(file).expanduser().parent for file in checkpoints if file != "scratch"
    )
    runs = {folder: digests for folder in folders if (digests := own.trained_on(folder))}
    if not runs:
        return []
    try:
        parts = judged_by(cfg)
        if not parts and root is not None:
            parts = judged_images(Path(root).expanduser())
    except DownstreamError:
        return []  # the fine-tuning says itself what it cannot read
    return [row for part, files in parts.items() for row in _rows(part, files, runs)]


def _rows(part: str, files: Sequence[str], runs: Mapping[Path, set[str]]) -> list[Finding]:
    looked = {file: file_digest(file) for file in files[:LOOKED_AT]}
    rows = []
    for folder, digests in runs.items():
        seen = tuple(printable(file) for file, digest in looked.items() if digest in digests)
        if not seen:
            continue
        share = f"{len(seen):,} of {len(looked):,} images ({100 * len(seen) / len(looked):.0f} %)"
        text = (
            f"{share} were in the pretraining of {printable(folder)}, so that the result flatters "
            "it; `xmoco duplicates --against` also finds near copies"
        )
        rows.append(Finding("note", part, text, seen))
    return rows
