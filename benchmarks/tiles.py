# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Tiles a second of one core: from one large picture, and from the same tiles as files.

A mosaic of photographs, its tiles in the order that training reads them in: any order where parts
can be read, else the whole is decoded once. Beside that the memory that a process needs for it.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import measure
import numpy as np
import tifffile
from PIL import Image

from xmoco_plugin.data import LoadTileOrSkip, PhotoPatches, tiff_file
from xmoco_plugin.data.tile_grid import tile_grid

Image.MAX_IMAGE_PIXELS = None


def mosaic(side: int) -> np.ndarray:
    """(side, side, 3) uint8: enlarged patches of photographs, each turned its own way."""
    patches = PhotoPatches(split="train", pipeline=[])
    rng, found = np.random.default_rng(0), np.empty((side, side, 3), np.uint8)
    for top in range(0, side, 256):
        for left in range(0, side, 256):
            patch = patches[int(rng.integers(len(patches)))]["img"]
            patch = cv2.resize(patch, (256, 256), interpolation=cv2.INTER_CUBIC)
            patch = np.rot90(patch, int(rng.integers(4)))
            room = found[top : top + 256, left : left + 256]
            room[:] = patch[: room.shape[0], : room.shape[1]]
    return found


def write(pixels: np.ndarray, folder: Path, side: int) -> dict[str, Path | list[Path]]:
    """The picture in several formats, and its tiles as files; by what they are called."""
    big: dict[str, Any] = dict(photometric="rgb")
    tiled: dict[str, Any] = dict(tile=(256, 256), **big)
    found: dict[str, Path | list[Path]] = {}
    ways: dict[str, dict[str, Any]] = {
        "TIFF, parts of 256 px, no compression": tiled,
        "TIFF, parts of 256 px, deflate": dict(compression="zlib", predictor=True, **tiled),
        "TIFF, strips of 64 rows, deflate": dict(
            compression="zlib", predictor=True, rowsperstrip=64, **big
        ),
    }
    if tiff_file.imagecodecs is not None:
        ways["TIFF, parts of 256 px, JPEG"] = dict(
            compression="jpeg", compressionargs=dict(level=90), **tiled
        )
        ways["TIFF, parts of 256 px, LZW"] = dict(compression="lzw", predictor=True, **tiled)
    for number, (name, settings) in enumerate(ways.items()):
        path = folder / f"{number}.tif"
        tifffile.imwrite(path, pixels, **settings)
        found[name] = path
    image = Image.fromarray(pixels)
    for kind in ("jpeg", "png"):
        path = folder / f"whole.{kind}"
        image.save(path)
        found[f"{kind.upper()}, decoded whole"] = path
        files = []
        for top, left in tile_grid(image.height, image.width, side).tolist():
            files.append(folder / f"{top}_{left}.{kind}")
            image.crop((left, top, left + side, top + side)).save(files[-1])
        found[f"tiles as {kind.upper()} files"] = files
    return found


def reading(what: Path | list[Path], grid: list, side: int) -> Callable[[], None]:
    """Reads all tiles once, as a worker that begins does."""
    order = np.random.default_rng(0).permutation(len(grid)).tolist()

    def read() -> None:
        load = LoadTileOrSkip(side, on_error="raise")
        for number in order:
            if isinstance(what, list):
                load.transform(dict(img_path=str(what[number])))
            else:
                load.transform(dict(img_path=str(what), tile=grid[number]))

    return read


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser)
    parser.add_argument("--picture", type=int, default=8192, help="side of the picture, px")
    parser.add_argument("--side", type=int, default=512, help="of a tile, px")
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = write(mosaic(args.picture), folder, args.side)
        grid = [tuple(place) for place in tile_grid(args.picture, args.picture, args.side).tolist()]
        ways = {kind: reading(what, grid, args.side) for kind, what in files.items()}
        seconds = measure.alternate(ways, args.repeats)
        rows: list[dict] = []
        for kind, taken in seconds.items():
            memory = measure.peak_memory(lambda kind=kind: ways[kind])  # type: ignore[misc]
            row = {"tiles from": kind, "tiles/s": len(grid) / taken, "MB of a worker": memory / 1e6}
            row["times JPEG files"], row["rounds"] = measure.ratio(
                seconds["tiles as JPEG files"], taken
            )
            rows.append(row)
    codecs = "with" if tiff_file.imagecodecs is not None else "without"
    title = f"{len(grid)} tiles of {args.side} px, {codecs} imagecodecs"
    measure.report(title, rows, measure.environment(), args)


if __name__ == "__main__":
    main()
