# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What one image is: looked at in worker processes."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..data import UnreadableImageError, decode_image
from ..data.decode_image import content_digest, read_image_file
from ..untrusted import open_image
from ..untrusted.image_file import MAX_PIXELS
from .pixels import pixel_facts
from .tile_scan import library_hint, tiff_facts


class Files(torch.utils.data.Dataset):
    """Image files, to be looked at in worker processes."""

    def __init__(self, paths: Sequence[str], look: Callable[[str], dict[str, Any]]) -> None:
        self.paths = paths
        self.look = look

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.look(self.paths[index])


def look_at(path: str, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """Facts of one file: ``path``, ``size``, ``changed``, and ``reason`` or what the image is.

    Args:
        path: Of the file.
        max_pixels: A larger image is not decoded. The facts name another limit than the usual one.
    """
    facts: dict[str, Any] = {"path": path}
    if "\n" in path or "\r" in path:
        return facts | {"reason": "its name holds a line break"}
    try:
        content = read_image_file(path)
        stat = os.stat(path)
    except (UnreadableImageError, OSError) as error:
        # Without size and time of change, so that the next scan tries again: rights and disks are
        # mended without a change of the file.
        return facts | {"reason": getattr(error, "strerror", None) or str(error)}
    facts |= {"size": stat.st_size, "changed": stat.st_mtime_ns, **tiff_facts(path, content)}
    if max_pixels != MAX_PIXELS:
        facts["max_pixels"] = max_pixels
    return facts if "reason" in facts else facts | look_into(content, max_pixels, path)


def look_into(content: bytes, max_pixels: int = MAX_PIXELS, path: str = "") -> dict[str, Any]:
    """Facts of an image: ``reason`` why it cannot be read, or ``sides``, ``mode``, ``digest``.

    Args:
        content: Of its file.
        max_pixels: As of :func:`look_at`.
        path: Of the file, by which a library that is missing is named; empty where it is none.
    """
    facts: dict[str, Any] = {}
    try:
        pixels = decode_image(content, max_pixels=max_pixels)
        height, width = pixels.shape[:2]
        with open_image(content, max_pixels) as image:
            mode = image.mode
            facts |= pixel_facts(pixels, image)
    except UnreadableImageError as error:
        return facts | {"reason": f"{error}{library_hint(path) if path else ''}"}
    facts |= {"sides": [height, width], "mode": mode, "digest": content_digest(content)}
    # The corners first: they are unlike in nearly every photo.
    if (pixels[0, 0] == pixels[-1, -1]).all() and (pixels == pixels[0, 0]).all():
        facts["constant"] = True
    return facts
