# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Opens every image once, in parallel, and remembers what it found."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..untrusted import printable
from ..untrusted.image_file import MAX_PIXELS
from .channel_scan import Channels, describe_channels, gather_channels, look_at_channels
from .look import Files, look_at
from .pixels import bit_depth, describe_pixels, seen_range
from .scan_cache import read_cache, unchanged
from .tile_scan import look_at_tiles
from .tiles import Tiles, describe_further, describe_tiles, gather_tiles, suggest_tiles

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
        tiles: Of the good ones, where tiles are trained on.
        channels: Of the good ones, where they are read as such and not as pictures.
        kinds: (path, kind, channels) of the TIFFs of many channels, the bad ones too.
        further: What else the good ones' files hold, each with its path.
        total: Images of the set, where only a sample of it was looked at.
        digest: Of such a set, by which it is known.
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
    tiles: Tiles | None = None
    channels: Channels | None = None
    kinds: list[tuple[str, str, int]] = field(default_factory=list)
    further: list[tuple[str, str]] = field(default_factory=list)
    total: int | None = None
    digest: str = ""

    @property
    def items(self) -> int:
        """What is trained on: images, or tiles of them.

        Of a sample, as many of the set as of the images that were looked at.
        """
        if self.tiles is not None:
            return len(self.tiles.places)
        if self.total is None:
            return len(self.good)
        return self.total * len(self.good) // max(len(self.good) + len(self.bad), 1)

    @property
    def item_sides(self) -> np.ndarray:
        """(items,) shorter sides of what is trained on, in pixels; of a sample its images'."""
        if self.tiles is None:
            return self.short_sides
        return np.full(self.items, self.tiles.side)

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
        if self.tiles is not None:
            return self.tiles.different(self.digests)
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


def scan_images(
    paths: Sequence[str],
    cache: Path,
    workers: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    max_pixels: int | None = None,
    side: int | None = None,
    channels: int | None = None,
) -> Scan:
    """Look at every file once; one that has been looked at and has not changed is not opened again.

    Args:
        paths: Of the files.
        cache: JSON lines, a file each, written while it goes on: a scan that is killed loses
            nothing. A line counts only for the path, size and time of change that it names.
        workers: Processes; 0 for none beside this one.
        progress: Called with how many files are done, and of how many.
        max_pixels: Larger images count as unreadable. Defaults to the usual limit.
        side: Of the tiles that are trained on, in pixels; None for whole images.
        channels: That TIFFs are read with; None for pictures.
    """
    max_pixels = max_pixels or MAX_PIXELS
    known = read_cache(cache)
    facts: dict[str, dict] = {
        p: known[p] for p in paths if p in known and unchanged(known[p], max_pixels, side, channels)
    }
    missing = [path for path in paths if path not in facts]
    progress(len(facts), len(paths))
    if missing:
        look = partial(look_at, max_pixels=max_pixels)
        if channels is not None:
            look = partial(look_at_channels, channels=channels, side=side, max_pixels=max_pixels)
        elif side is not None:
            look = partial(look_at_tiles, side=side, max_pixels=max_pixels)
        loader = torch.utils.data.DataLoader(
            Files(missing, look),
            batch_size=16 if side is None else 1,  # large ones: one takes long enough
            num_workers=min(workers, len(missing)),
            collate_fn=list,
        )
        with open(cache, "a", encoding="utf-8") as file:
            file.write("\n")  # what a killed scan has left of a line stays a line of its own
            for batch in loader:
                facts |= {found["path"]: found for found in batch}
                file.writelines(json.dumps(found) + "\n" for found in batch)
                file.flush()
                progress(len(facts), len(paths))
    return collect((facts[path] for path in paths), side, channels)


def collect(
    lines: Iterable[dict[str, Any]], side: int | None = None, channels: int | None = None
) -> Scan:
    """What is known of a set, from the facts of each image, in their order.

    Args:
        lines: The facts.
        side, channels: As :func:`scan_images` has them.
    """
    found = Scan()
    sides, kept = [], []
    for line in lines:
        path = line["path"]
        if "kind" in line:
            found.kinds.append((path, printable(line["kind"]), line["channels"]))
        if "reason" in line:
            found.bad.append((path, printable(line["reason"])))  # the cache is anybody's
            continue
        found.good.append(path)
        kept.append(line)
        sides.append(line["sides"])
        found.modes[line["mode"]] += 1
        found.digests.append(line["digest"])
        if channels is None:
            found.facts.append({key: line[key] for key in ("range", "deep") if key in line})
        if line.get("constant"):
            found.constant.append(path)
        if line.get("further"):
            found.further.append((path, str(line["further"])))
    found.sides = np.array(sides, dtype=np.int64).reshape(-1, 2)
    if side is not None:
        found.tiles = gather_tiles(kept, side)
    if channels is not None and found.good:
        found.channels = gather_channels(kept)
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
        if found.channels is None:
            modes += f" ({found.grey_share:.0%} without colour)"
        lines.append(f"modes: {modes}")
        ranges = np.array([seen_range(facts, found.bit_depth) for facts in found.facts])
        if len(ranges):
            given = found.given_depth is not None
            lines += describe_pixels(ranges, found.good, found.deep, found.bit_depth, given)
        if found.channels is not None:
            lines += describe_channels(found.channels, found.given_depth)
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
        lines += describe_further(found.further)
        if found.tiles is not None:
            lines += describe_tiles(found.tiles, found.good)
        elif size is not None:
            if found.total is None:  # of shards no tiles are cut
                lines += suggest_tiles(found.sides, size, found.bad)
            small = int((found.short_sides < size).sum())
            lines.append(
                f"smaller than the views of {size} px, and enlarged for them: {small:,} "
                f"({small / len(found.good):.0%})"
            )
    return lines
