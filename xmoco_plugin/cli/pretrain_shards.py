# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A pretraining on a set of shards: what of the options fits, a look at a sample, its config."""

import argparse
import os
from pathlib import Path
from typing import Any

from xmoco_plugin import pretraining as own
from xmoco_plugin.checkpoint import write_text
from xmoco_plugin.cli.pretrain_data import with_bar
from xmoco_plugin.data import ShardError
from xmoco_plugin.data.shards import GB, ROOT, ShardSet, is_remote, plain_url
from xmoco_plugin.untrusted import printable, read_text
from xmoco_plugin.untrusted.run_settings import NAMED_SET

DIGEST = "shards.txt"  # of the index of the set that a run began with


def check(args: argparse.Namespace) -> list[str]:
    """What else is asked for that a set of shards has not, in sentences."""
    found = []
    if len(args.data) > 1:
        found.append("--data: a set of shards is named alone; pack all images into one set.")
    if args.teacher:
        found.append(
            "--teacher: of a set of shards no features are stored; name a folder of images."
        )
    for name in ("tiles", "channels"):
        if name in args.given:
            found.append(f"--{name}: images in shards are read whole, as pictures in colour.")
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
            it has too few different images.
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
        what = "looking at a sample"
        found = with_bar(what, lambda show: own.scan_shards(shards, show, given.get("max_pixels")))
    except ShardError as error:
        raise own.PretrainError(f"--data {error}") from None
    if not found.good:
        path, reason = found.bad[0]
        raise own.PretrainError(
            f"none of {len(found.bad):,} images of {printable(args.data[0])} that were looked at "
            f"can be read; the first is {printable(path)}: {reason}"
        )
    own.one_kind(found, None)  # some in the sample: more in the set, which would be read as colour
    found.given_depth = given.get("bit_depth")
    if began is None:
        own.check_number(found)
    write_text(kept, f"{shards.index.digest}\n")
    facts = dict(data_root=shards.store.url, digest=shards.index.digest)
    return found, dict(type="ShardedImages", **facts)
