# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Picks which images of a folder to label next, by the features of a backbone.

In a csv, names are printed as `embed` prints them; a txt holds paths as they are.
"""

import argparse
import csv
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from mmengine.config import Config

from xmoco_plugin.checkpoint import write_atomic
from xmoco_plugin.cli import backbones
from xmoco_plugin.cli.duplicates import list_sources
from xmoco_plugin.cli.embed import Files, begin, embed
from xmoco_plugin.data import channel_reading, find_images
from xmoco_plugin.data.decode_image import file_digest
from xmoco_plugin.data.labelled_sets import training_bit_depth
from xmoco_plugin.evaluation.selection import (
    Far,
    Typical,
    are_alike,
    k_centre,
    nearest_alike,
    typical,
)
from xmoco_plugin.pretraining.sources import passed_over
from xmoco_plugin.untrusted import for_spreadsheet, printable

Picks = Sequence[Far | Typical]
HEADS = {
    "k-centre": ["rank", "file", "distance", "nearest"],
    "typical": ["rank", "file", "cluster", "images", "typicality"],
}


def without_labels(paths: Sequence[str], labelled: Sequence[str]) -> list[str]:
    """The paths that are none of the labelled files, neither by place nor by content."""
    places = {os.path.realpath(path) for path in labelled}
    rest = [path for path in paths if os.path.realpath(path) not in places]
    # Only files of a size that a labelled one has are read.
    sizes = {_size(path) for path in labelled} - {None}
    alike = [path for path in rest if _size(path) in sizes]
    if not alike:
        return rest
    digests = {file_digest(path) for path in labelled} - {None}
    same = {path for path in alike if file_digest(path) in digests}
    return [path for path in rest if path not in same]


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def pick(args: argparse.Namespace, features: torch.Tensor, labelled: torch.Tensor) -> Picks:
    """The picks, by the method that is asked for.

    Raises:
        ValueError: There is nothing to choose by, or there are too few images.
    """
    free = int((~labelled).sum())
    if args.number > free:
        raise ValueError(
            f"-n {args.number:,}: {args.folder} has {free:,} readable images that have no label yet"
        )
    if are_alike(features):
        raise ValueError(
            f"the features of all {len(features):,} images are alike: either the images are, or "
            f"{printable(args.checkpoint)} tells no images apart. Any choice would be a random one"
        )
    if args.method == "k-centre":
        return k_centre(features, labelled, args.number)
    return typical(features, labelled, args.number, args.seed)


def write(path: Path, picks: Picks, files: Files, rows: Sequence[int]) -> None:
    """Writes the list, whole or not at all.

    Args:
        path: Of the file; its ending says the form.
        picks: What was picked.
        files: All that were looked at.
        rows: Of the features in ``files``.
    """
    if path.suffix == ".txt":
        paths = [os.fsencode(os.path.abspath(files.paths[rows[found.row]])) for found in picks]
        content = b"".join(path + b"\n" for path in paths)
    else:
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(HEADS["k-centre" if isinstance(picks[0], Far) else "typical"])
        for rank, found in enumerate(picks, 1):
            name = for_spreadsheet(files.names[rows[found.row]])
            cells: list[int | str] = ["", ""]
            if isinstance(found, Typical):
                cells = [found.cluster, found.images, f"{found.typicality:.6g}"]
            elif found.distance is not None and found.nearest is not None:
                nearest = for_spreadsheet(files.names[rows[found.nearest]])
                cells = [f"{found.distance:.6g}", nearest]
            writer.writerow([rank, name, *cells])
        content = text.getvalue().encode()
    write_atomic(content, path, save=lambda data, file: file.write(data))


def describe(picks: Picks) -> str:
    """What the picks are, in half a sentence."""
    sizes = {found.cluster: found.images for found in picks if isinstance(found, Typical)}
    if sizes:
        return f"from {len(sizes):,} clusters of {min(sizes.values()):,} to {max(sizes.values()):,}"
    far = [found.distance for found in picks if isinstance(found, Far)]
    known = [distance for distance in far if distance is not None]
    if not known:
        return "the one nearest to the mean of all"
    ends = f"{known[0]:.3f} (1 - cosine) from what was before it, the last {known[-1]:.3f}"
    return f"the farthest {ends}"


def look(args: argparse.Namespace, cfg: Config, size: int) -> tuple[Files, int, list[str]]:
    """The files to embed, how many of them are to be picked from, and what was left out, why.

    Raises:
        ValueError: There are too few.
    """
    root = os.path.expanduser(args.folder)
    others: list[str] = []
    paths = [os.path.join(root, name) for name in find_images(root, others=others)]
    if others:
        print(passed_over(args.folder, others), file=sys.stderr, flush=True)
    labelled = list_sources(args.labelled, "--labelled ") if args.labelled else []
    pool = without_labels(paths, labelled) if labelled else paths
    if known := len(paths) - len(pool):
        print(f"{known:,} of {len(paths):,} images of {printable(args.folder)} are labelled")
    broken = [path for path in pool if "\n" in path or "\r" in path]
    pool = [path for path in pool if path not in set(broken)]
    if args.number > len(pool):
        raise ValueError(
            f"-n {args.number:,}: {args.folder} has {len(pool):,} images that have no label yet"
        )
    names = [os.path.relpath(path, root) for path in pool] + labelled
    bits, channels = training_bit_depth(cfg), channel_reading(cfg)
    files = Files(pool + labelled, names, size, args.max_pixels, bits, channels=channels)
    bad = [f"{printable(os.path.relpath(p, root))}: its name holds a line break" for p in broken]
    return files, len(pool), bad


def main(args: argparse.Namespace) -> None:
    """Embeds, picks and writes."""
    args.checkpoint = backbones.weights_of(args.checkpoint)
    cfg, size = begin(args)
    files, pool, bad = look(args, cfg, size)
    rows, found, unreadable = embed(args, cfg, files, unit=True)
    bad += unreadable
    for line in bad:
        print(f"left out: {line}", file=sys.stderr)
    features, labelled = torch.from_numpy(found), torch.tensor([row >= pool for row in rows])
    picks = pick(args, features, labelled)
    write(args.out, picks, files, rows)
    place = nearest_alike([found for found in picks if isinstance(found, Far)])
    if place is not None:
        print(
            f"from rank {place + 1:,} on, each image is to the backbone the same as one above or a "
            "labelled one",
            file=sys.stderr,
        )
    left = f"; {len(bad):,} left out" if bad else ""
    print(
        f"{printable(args.out)}: {len(picks):,} of {int((~labelled).sum()):,} images, "
        f"{describe(picks)}{left}",
        flush=True,
    )
