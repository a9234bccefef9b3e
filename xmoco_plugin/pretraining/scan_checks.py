# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Whether the images that a scan found are enough, and whether labelled ones are among them."""

import os

from ..untrusted import printable
from .choices import MIN_IMAGES
from .errors import PretrainError
from .scan import Scan
from .tiles import SUGGESTED, offered_tiles, suggest_tiles


def check_number(found: Scan) -> None:
    """Makes sure that there are images enough to be told from one another.

    Raises:
        PretrainError: There are too few that are different; counts what there is.
    """
    if found.different >= MIN_IMAGES:
        return
    if found.tiles is not None:
        raise PretrainError(
            f"{found.items:,} tiles of {found.tiles.side} px with something to see in "
            f"{len(found.good):,} readable pictures, {found.different:,} of them of different "
            f"pictures' contents: contrast needs other images, {MIN_IMAGES} at the least. Choose "
            "smaller --tiles, or add pictures."
        )
    images = f"{len(found.good)} readable image{'s' * (len(found.good) > 1)}"
    if found.different < len(found.good):
        images += (
            f", {found.different} of them different ({found.duplicates:,} the same as another, "
            f"{len(found.constant):,} of one colour)"
        )
    tiles = offered_tiles(found.sides) if found.channels is None and found.total is None else 0
    offer = (
        f" They are large: --tiles {SUGGESTED} trains on {tiles:,} tiles of them." if tiles else ""
    )
    raise PretrainError(
        f"{images}: contrast needs other images. {MIN_IMAGES} different ones are the least, some "
        f"thousands a beginning.{offer}"
    )


def check_readable(found: Scan) -> None:
    """Makes sure that an image can be read at all.

    Raises:
        PretrainError: None can; says why not of the first, and what reads larger ones.
    """
    if found.good:
        return
    path, reason = found.bad[0]
    text = f"none of the {len(found.bad):,} images can be read; the first is "
    offers = "".join(f". {line}." for line in suggest_tiles(found.sides, 0, found.bad))
    raise PretrainError(f"{text}{printable(path)}: {reason}{offers}")


def overlap(labelled: Scan, training: Scan) -> int:
    """How many labelled images are in the training set too, by content or by path.

    Of a sample by content alone: its names are those of a set, and no files.
    """
    digests = set(training.digests)
    paths = {os.path.realpath(path) for path in training.good if training.total is None}
    return sum(
        digest in digests or os.path.realpath(path) in paths
        for path, digest in zip(labelled.good, labelled.digests, strict=True)
    )
