# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Looks at a sample of a set of shards: what cannot be read whole before it is trained on."""

from collections.abc import Callable, Iterator
from typing import Any

from ..data.shards import DamagedShardError, ShardSet
from ..untrusted.image_file import MAX_PIXELS
from .look import look_into
from .scan import Scan, collect

SAMPLE = 2_000  # images (ours): a share of 1 % is told to 0.2 %


def scan_shards(
    shards: ShardSet,
    progress: Callable[[int, int], None] = lambda done, total: None,
    max_pixels: int | None = None,
    most: int = SAMPLE,
) -> Scan:
    """Look at the first images of a set, which lie in it in the order of a hash.

    Args:
        shards: The set.
        progress: Called with how many images are done, and of how many.
        max_pixels: Larger images count as unreadable. Defaults to the usual limit.
        most: Images to look at.
    """
    number = min(most, len(shards))

    def lines() -> Iterator[dict[str, Any]]:
        for image in range(number):
            yield _look(shards, image, max_pixels or MAX_PIXELS)
            if not (image + 1) % 16 or image + 1 == number:
                progress(image + 1, number)

    found = collect(lines())
    found.total = len(shards)
    return found


def _look(shards: ShardSet, image: int, max_pixels: int) -> dict[str, Any]:
    try:
        name, content = shards.read(image)
    except DamagedShardError as error:
        return {"path": f"image {image}", "reason": str(error)}
    return {"path": name} | look_into(content, max_pixels)
