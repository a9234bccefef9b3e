# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Opens every image once, in parallel, and remembers what it found."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data import UnreadableImageError, decode_image
from ..data.decode_image import content_digest, read_image_file
from ..json_lines import read_json_lines
from ..untrusted import FileRefusedError, open_image, printable
from ..untrusted.image_file import MAX_PIXELS
from .errors import PretrainError
from .pixels import are_pixel_facts, bit_depth, describe_pixels, pixel_facts, seen_range

GREY = ("1", "L", "LA", "I", "F", "I;16", "I;16B", "I;16L")


@dataclass
class Scan:
    """What is known of a set of images.

    Attributes:
        good: Paths of the images that can be read whole.
        bad: (path, reason) of those that cannot.
        sides: (n, 2) height and width of the good ones, upright, in pixels.
        modes: How many of each of Pillow's modes.
        digests: Of the good ones' files, in their order.
        notes: What else was left out, in sentences.
        constant: Of the good ones, those of one colour, in which there is nothing to see.
        facts: Of the good ones, smallest, largest and mean value; see :func:`pixel_facts`.
        given_depth: Bits that 16-bit grey images are read with, if the user says so.
        total: Images of the set, where only a sample of it was looked at.
    """

    good: list[str] = field(default_factory=list)
    bad: list[tuple[str, str]] = field(default_factory=list)
    sides: np.ndarray = field(default_factory=lambda: np.empty((0, 2), dtype=np.int64))
    modes: Counter = field(default_factory=Counter)
    digests: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    constant: list[str] = field(default_factory=list)
    facts: list[dict[str, Any]] = field(default_factory=list)
    given_depth: int | None = None
    total: int | None = None

    @property
    def images(self) -> int:
        """To train on: of a sample, as many of the set as of those that were looked at."""
        if self.total is None:
            return len(self.good)
        return self.total * len(self.good) // max(len(self.good) + len(self.bad), 1)

    @property
    def deep(self) -> list[list[int]]:
        """Ranges of the 16-bit grey images."""
        return [facts["deep"] for facts in self.facts if "deep" in facts]

    @property
    def bit_depth(self) -> int:
        """Bits that 16-bit grey images are read with."""
        return self.given_depth or bit_depth(self.deep)

    @property
    def duplicates(self) -> int:
        """Files whose content another file has already."""
        return len(self.digests) - len(set(self.digests))

    @property
    def different(self) -> int:
        """Images that a network can tell apart: by content, all of one colour together one."""
        constant = set(self.constant)
        pairs = zip(self.good, self.digests, strict=True)
        return len({d for path, d in pairs if path not in constant}) + bool(constant)

    @property
    def short_sides(self) -> np.ndarray:
        """(n,) pixels."""
        return self.sides.min(axis=1)

    @property
    def grey_share(self) -> float:
        """Share of the images without colour, by their mode."""
        return sum(self.modes[mode] for mode in GREY) / max(len(self.good), 1)


class Files(torch.utils.data.Dataset):
    """Image files, to be looked at in worker processes."""

    def __init__(self, paths: Sequence[str], max_pixels: int = MAX_PIXELS) -> None:
        self.paths = paths
        self.max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return look_at(self.paths[index], self.max_pixels)


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
    facts |= {"size": stat.st_size, "changed": stat.st_mtime_ns}
    if max_pixels != MAX_PIXELS:
        facts["max_pixels"] = max_pixels
    return facts | look_into(content, max_pixels)


def look_into(content: bytes, max_pixels: int = MAX_PIXELS) -> dict[str, Any]:
    """Facts of an image: ``reason`` why it cannot be read, or ``sides``, ``mode``, ``digest``."""
    facts: dict[str, Any] = {}
    try:
        pixels = decode_image(content, max_pixels=max_pixels)
        height, width = pixels.shape[:2]
        with open_image(content, max_pixels) as image:
            mode = image.mode
            facts |= pixel_facts(pixels, image)
    except UnreadableImageError as error:
        return facts | {"reason": str(error)}
    facts |= {"sides": [height, width], "mode": mode, "digest": content_digest(content)}
    # The corners first: they are unlike in nearly every photo.
    if (pixels[0, 0] == pixels[-1, -1]).all() and (pixels == pixels[0, 0]).all():
        facts["constant"] = True
    return facts


def scan_images(
    paths: Sequence[str],
    cache: Path,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    max_pixels: int | None = None,
) -> Scan:
    """Look at every file once; one that has been looked at and has not changed is not opened again.

    Args:
        paths: Of the files.
        cache: JSON lines, a file each, written while it goes on: a scan that is killed loses
            nothing. A line counts only for the path, size and time of change that it names.
        workers: Processes; 0 for none beside this one.
        progress: Called with how many files are done, and of how many.
        max_pixels: Larger images count as unreadable. Defaults to the usual limit.
    """
    max_pixels = max_pixels or MAX_PIXELS
    known = _read_cache(cache)
    facts: dict[str, dict] = {
        p: known[p] for p in paths if p in known and _unchanged(known[p], max_pixels)
    }
    missing = [path for path in paths if path not in facts]
    progress(len(facts), len(paths))
    if missing:
        loader = torch.utils.data.DataLoader(
            Files(missing, max_pixels), batch_size=16, num_workers=workers, collate_fn=list
        )
        with open(cache, "a", encoding="utf-8") as file:
            file.write("\n")  # what a killed scan has left of a line stays a line of its own
            for batch in loader:
                facts |= {found["path"]: found for found in batch}
                file.writelines(json.dumps(found) + "\n" for found in batch)
                file.flush()
                progress(len(facts), len(paths))
    return collect(facts[path] for path in paths)


def collect(lines: Iterable[dict[str, Any]]) -> Scan:
    """What is known of a set, from the facts of each image, in their order."""
    found = Scan()
    sides = []
    for line in lines:
        path = line["path"]
        if "reason" in line:
            found.bad.append((path, printable(line["reason"])))  # the cache is anybody's
            continue
        found.good.append(path)
        sides.append(line["sides"])
        found.modes[line["mode"]] += 1
        found.digests.append(line["digest"])
        found.facts.append({key: line[key] for key in ("range", "deep") if key in line})
        if line.get("constant"):
            found.constant.append(path)
    found.sides = np.array(sides, dtype=np.int64).reshape(-1, 2)
    return found


def describe(found: Scan, size: int | None = None) -> list[str]:
    """The scan in a few lines.

    Args:
        found: Of the set.
        size: Side of the views, in pixels, to say how many images are smaller.
    """
    looked = "images" if found.total is None else f"a sample of {found.total:,} images"
    lines = [f"{looked}: {len(found.good):,} readable, {len(found.bad):,} unreadable", *found.notes]
    if found.good:
        low, middle, high = np.percentile(found.short_sides, [0, 50, 100]).astype(int)
        lines.append(f"shorter side: {low:,} to {high:,} px, median {middle:,} px")
        modes = ", ".join(f"{mode} {n:,}" for mode, n in found.modes.most_common())
        lines.append(f"modes: {modes} ({found.grey_share:.0%} without colour)")
        ranges = np.array([seen_range(facts, found.bit_depth) for facts in found.facts])
        if len(ranges):
            given = found.given_depth is not None
            lines += describe_pixels(ranges, found.good, found.deep, found.bit_depth, given)
        lines.append(f"exact duplicates: {found.duplicates:,}")
        if 2 * found.duplicates >= len(found.good):
            lines.append(
                f"{found.duplicates:,} of {len(found.good):,} images are the same as another one"
            )
        if found.constant:
            lines.append(
                f"{len(found.constant):,} of {len(found.good):,} images are constant: of one "
                f"colour, with nothing to see ({printable(found.constant[0])} the first)"
            )
        if size is not None:
            small = int((found.short_sides < size).sum())
            lines.append(
                f"smaller than the views of {size} px, and enlarged for them: {small:,} "
                f"({small / len(found.good):.0%})"
            )
    return lines


def _read_cache(cache: Path) -> dict[str, dict]:
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
    if "reason" in line:
        return isinstance(line["reason"], str)
    sides = line.get("sides")
    return (
        isinstance(sides, list)
        and len(sides) == 2
        and all(isinstance(side, int) and 0 < side < 1 << 31 for side in sides)
        and isinstance(line.get("mode"), str)
        and isinstance(line.get("digest"), str)
        and are_pixel_facts(line)
    )


def _unchanged(line: dict, max_pixels: int) -> bool:
    """Whether the file is still the one that was looked at, by the same limit."""
    if line.get("max_pixels", MAX_PIXELS) != max_pixels:
        return False
    try:
        stat = os.stat(line["path"])
    except (OSError, ValueError):
        return False
    return (line.get("size"), line.get("changed")) == (stat.st_size, stat.st_mtime_ns)
