# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Looks at a sample of a set of shards: what cannot be read whole before it is trained on."""

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from ..data.shards import DamagedShardError, ShardSet
from ..data.tiff_file import MAGIC
from ..untrusted.image_file import MAX_PIXELS
from .channel_scan import look_at_channels
from .look import look_into
from .scan import Scan, collect
from .tile_scan import tiff_facts

SAMPLE = 2_000  # images (ours): a share of 1 % is told to 0.2 %


def scan_shards(
    shards: ShardSet,
    progress: Callable[[int, int], None] = lambda done, total: None,
    max_pixels: int | None = None,
    most: int = SAMPLE,
    channels: int | None = None,
) -> Scan:
    """Look at the first images of a set, which lie in it in the order of a hash.

    Args:
        shards: The set.
        progress: Called with how many images are done, and of how many.
        max_pixels: Larger images count as unreadable. Defaults to the usual limit.
        most: Images to look at.
        channels: That TIFFs are read with; None for pictures.
    """
    number = min(most, len(shards))

    def lines() -> Iterator[dict[str, Any]]:
        for image in range(number):
            yield _look(shards, image, max_pixels or MAX_PIXELS, channels)
            if not (image + 1) % 16 or image + 1 == number:
                progress(image + 1, number)

    found = collect(lines(), channels=channels)
    found.total, found.digest = len(shards), shards.index.digest
    return found


def _look(shards: ShardSet, image: int, max_pixels: int, channels: int | None) -> dict[str, Any]:
    try:
        name, content = shards.read(image)
    except DamagedShardError as error:
        return {"path": f"image {image}", "reason": str(error)}
    if channels is None and content[:4] not in MAGIC:
        return {"path": name} | look_into(content, max_pixels)
    with tempfile.NamedTemporaryFile(suffix=".tif") as file:  # TIFFs are looked at as files
        file.write(content)
        file.flush()
        if channels is not None:
            return look_at_channels(file.name, channels, None, max_pixels) | {"path": name}
        facts = {"path": name} | tiff_facts(file.name, content)
    return facts if "reason" in facts else facts | look_into(content, max_pixels)
