# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Looks at a sample of a set of shards: what cannot be read whole before it is trained on."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from ..data.shards import DamagedShardError, ShardSet
from ..data.tiff_file import MAGIC
from ..untrusted.image_file import MAX_PIXELS
from .look import look_into
from .scan import Scan, collect
from .tile_scan import tiff_facts

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
    facts = {"path": name} | _tiff_facts(content)
    return facts if "reason" in facts else facts | look_into(content, max_pixels)


def _tiff_facts(content: bytes) -> dict[str, Any]:
    """As :func:`tiff_facts`, of a file that lies in a shard; many channels are not read there."""
    if content[:4] not in MAGIC:
        return {}
    with tempfile.NamedTemporaryFile(suffix=".tif") as file:
        file.write(content)
        file.flush()
        facts = tiff_facts(file.name, content)
    if "kind" in facts:
        facts["reason"] = (
            f"{facts['kind']}, and shards are read as pictures: name a folder of them with "
            f"--channels {facts['channels']}"
        )
    return facts
