# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a scan remembers of each file: lines that anybody may have written, believed if they fit."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.tile_grid import MOST_TILES, most_tiles
from ..json_lines import read_json_lines
from ..untrusted import FileRefusedError
from ..untrusted.image_file import MAX_PIXELS
from .channel_scan import are_channel_facts
from .errors import PretrainError
from .pixels import are_pixel_facts


def read_cache(cache: Path) -> dict[str, dict]:
    """The lines by path; what is no fact of :func:`look_at` is looked at anew."""
    if not os.path.lexists(cache):
        return {}
    try:
        lines, _ = read_json_lines(cache)
    except FileRefusedError as error:
        raise PretrainError(
            f"{cache}: {error}. Remove it: the images are looked at anew."
        ) from None
    return {line["path"]: line for line in lines if _is_fact(line)}


def _is_fact(line: dict) -> bool:
    if not isinstance(line.get("path"), str):
        return False
    if "kind" in line and not (isinstance(line["kind"], str) and type(line.get("channels")) is int):
        return False
    if "reason" in line:
        return isinstance(line["reason"], str)
    sides = line.get("sides")
    return (
        isinstance(sides, list)
        and len(sides) == 2
        and all(isinstance(side, int) and 0 < side < 1 << 31 for side in sides)
        and isinstance(line.get("mode"), str)
        and isinstance(line.get("digest"), str)
        and (are_channel_facts(line) if "asked" in line else are_pixel_facts(line))
        and ("side" not in line or _are_tile_facts(line))
    )


def _are_tile_facts(line: Mapping[str, Any]) -> bool:
    empty, held = line.get("empty"), line.get("held")
    return (
        isinstance(empty, list)
        and all(type(number) is int and 0 <= number < MOST_TILES for number in empty)
        and type(held) is int
        and held >= 0
        and type(line["side"]) is int
        and line["side"] > 0
        and most_tiles(line["sides"][0], line["sides"][1], line["side"]) <= MOST_TILES
    )


def unchanged(
    line: dict, max_pixels: int, side: int | None = None, channels: int | None = None
) -> bool:
    """Whether the file is the one that was looked at, by the same limit, tiles and channels."""
    if line.get("max_pixels", MAX_PIXELS) != max_pixels or line.get("side") != side:
        return False
    if line.get("asked") != channels:
        return False
    try:
        stat = os.stat(line["path"])
    except (OSError, ValueError):
        return False
    return (line.get("size"), line.get("changed")) == (stat.st_size, stat.st_mtime_ns)
