# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A pretraining on a set of shards: what of the options fits, a look at a sample, its config."""

import argparse
import os
from pathlib import Path
from typing import Any

from xmoco_plugin import pretraining as own
from xmoco_plugin.checkpoint import write_text
from xmoco_plugin.cli.pretrain_data import of_one_kind, with_bar
from xmoco_plugin.data import ShardError
from xmoco_plugin.data.shards import GB, MIXED, ROOT, ShardSet, is_remote, plain_url
from xmoco_plugin.untrusted import printable, read_text
from xmoco_plugin.untrusted.run_settings import NAMED_SET

DIGEST = "shards.txt"  # of the index of the set that a run began with
FEW = 0.01  # of a sample, of another kind: as many unreadable images as SkippedImagesHook lets pass


def check(args: argparse.Namespace) -> list[str]:
    """What else is asked for that a set of shards has not, in sentences."""
    found = []
    if len(args.data) > 1:
        found.append("--data: a set of shards is named alone; pack all images into one set.")
    if "tiles" in args.given:
        found.append("--tiles: images in shards are read whole.")
    return found


def name_set(args: argparse.Namespace) -> None:
    """Lets the configs of this command's processes read the bucket that its user has named."""
    args.data = [plain_url(source) for source in args.data]
    os.environ.pop(NAMED_SET, None)
    if is_set(args) and is_remote(args.data[0]):
        os.environ[NAMED_SET] = args.data[0]


def is_set(args: argparse.Namespace) -> bool:
    """Whether the images of a command are a set of shards."""
    return len(args.data) == 1 and own.is_shards(args.data[0])


def take(
    args: argparse.Namespace, given: dict[str, Any], folder: Path, began: own.RunSettings | None
) -> tuple[own.Scan, dict[str, Any]]:
    """A look at a sample, and the settings of the data set.

    Raises:
        PretrainError: There is no such set, it is not whole, or another than when the run began; or
            it has too few different images, or of several kinds.
    """
    kept = folder / DIGEST
    digest = read_text(kept).strip() if began is not None and kept.is_file() else None
    # For the training too, which is a process of its own: its config is not for this machine alone.
    if args.cache:
        os.environ[ROOT] = str(Path(args.cache).expanduser().resolve())
    if "cache_gb" in given:
        os.environ[GB] = str(given["cache_gb"])
    try:
        shards = ShardSet(args.data[0], digest=digest)
        shards.check_room(MIXED)  # a teacher's pass, before the training asks, may take hours
        found = _look(shards, given)
    except ShardError as error:
        raise own.PretrainError(f"--data {error}") from None
    if not found.good:
        path, reason = found.bad[0]
        raise own.PretrainError(
            f"none of {len(found.bad):,} images of {printable(args.data[0])} that were looked at "
            f"can be read; the first is {printable(path)}: {reason}"
        )
    found.given_depth = given.get("bit_depth")
    if began is None:
        own.check_number(found)
    write_text(kept, f"{shards.index.digest}\n")
    facts = dict(data_root=shards.store.url, digest=shards.index.digest)
    return found, dict(type="ShardedImages", **facts)


def _look(shards: ShardSet, given: dict[str, Any]) -> own.Scan:
    """A look at a sample: as pictures, or as TIFFs of as many channels as all of it have.

    What is of another kind beyond the sample is unreadable for the training, which names it. So
    are a few TIFFs among pictures in the sample, as long as a training lets so many pass.

    Raises:
        PretrainError: The channels differ between the images, or are not those that are asked for.
    """

    def scan(channels: int | None) -> own.Scan:
        most = given.get("max_pixels")
        look = lambda show: own.scan_shards(shards, show, most, channels=channels)  # noqa: E731
        return with_bar("looking at a sample", look)

    return of_one_kind(scan, given.get("channels"), FEW)
