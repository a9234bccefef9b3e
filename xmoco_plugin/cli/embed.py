# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes features and file names of every image below a folder, as npz, csv or parquet.

Names are anybody's bytes: control characters, line breaks and what is no UTF-8 are written as
escapes (\\x1b, \\n, \\xff), and a backslash before one of nrtxuU\\ is doubled, so that a name can
be had back. In a csv, a name that begins with =, +, -, @ or ' gets a ' before it, so that no
spreadsheet runs it.
"""

import argparse
import csv
import io
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import init_default_scope

from xmoco_plugin.checkpoint import write_atomic
from xmoco_plugin.cli import backbones, common
from xmoco_plugin.data import ChannelReading, channel_reading, find_images, read_channels
from xmoco_plugin.data.decode_image import UnreadableImageError
from xmoco_plugin.data.labelled_sets import (
    file_pipeline,
    limit_pixels,
    set_bit_depth,
    training_bit_depth,
    training_tile,
)
from xmoco_plugin.data.picture_reader import picture_size
from xmoco_plugin.data.tile_grid import tile_grid, tile_name
from xmoco_plugin.evaluation.features import (
    ModelEmbedder,
    evaluation_mode,
    refuse_nonfinite,
)
from xmoco_plugin.pretraining.sources import passed_over
from xmoco_plugin.progress import watched
from xmoco_plugin.untrusted import for_spreadsheet, printable


class Files(torch.utils.data.Dataset):
    """Image files as a backbone is judged on; in place of a bad one, its reason.

    Args:
        paths: Of the files.
        names: What they are called.
        size: Side of the centre crop, in pixels.
        max_pixels: Larger images are not read.
        bit_depth: Of 16-bit grey.
        tiles: Top and left of a part of each file, and ``side``, its side, in pixels.
        channels: How they are read, where they are no pictures.
    """

    def __init__(
        self,
        paths: list[str],
        names: list[str],
        size: int,
        max_pixels: int | None = None,
        bit_depth: int = 16,
        tiles: list[tuple[int, int]] | None = None,
        side: int | None = None,
        channels: ChannelReading | None = None,
    ) -> None:
        self.paths, self.names, self.tiles = paths, names, tiles
        pipeline = file_pipeline(size)
        if side is not None:
            pipeline[0] |= dict(type="LoadTileOrSkip", side=side)
        limit_pixels(pipeline, max_pixels)
        set_bit_depth(pipeline, bit_depth)
        read_channels(pipeline, channels)
        self.pipeline = Compose(pipeline)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, dict | str]:
        try:
            part = {} if self.tiles is None else {"tile": self.tiles[index]}
            return index, self.pipeline(dict(img_path=self.paths[index], **part))
        except UnreadableImageError as error:
            return index, str(error)


class Images(Files):
    """All images of a folder, or all tiles of its pictures, called by their paths in it."""

    def __init__(
        self,
        folder: str,
        size: int,
        max_pixels: int | None = None,
        bit_depth: int = 16,
        side: int | None = None,
        channels: ChannelReading | None = None,
    ) -> None:
        root = os.path.expanduser(folder)
        self.others: list[str] = []  # that are no images
        self.left_out: list[str] = []  # that have no tile
        names = find_images(root, others=self.others)
        tiles = None
        if side is not None:
            names, tiles = self._cut(root, names, side)
        paths = [os.path.join(root, name) for name in names]
        called = names if tiles is None else list(map(tile_name, names, tiles))
        super().__init__(paths, called, size, max_pixels, bit_depth, tiles, side, channels)

    def _cut(
        self, root: str, names: list[str], side: int
    ) -> tuple[list[str], list[tuple[int, int]]]:
        found: list[tuple[str, tuple[int, int]]] = []
        for name in names:
            size = picture_size(os.path.join(root, name))
            try:
                grid = tile_grid(*size, side).tolist() if size else []
            except UnreadableImageError as error:
                self.left_out.append(f"{printable(name)}: {error}")
                continue
            found += [(name, (top, left)) for top, left in grid]
            if not size:
                self.left_out.append(f"{printable(name)}: its size cannot be read")
            elif not grid:
                self.left_out.append(
                    f"{printable(name)}: {size[1]}x{size[0]} px is smaller than a tile of {side} px"
                )
        if not found:
            raise ValueError(
                f"{root}: none of its {len(names):,} images has a tile of {side} px; "
                f"{self.left_out[0]}"
            )
        return [name for name, _ in found], [tile for _, tile in found]


def embed(
    args: argparse.Namespace, cfg: Config, images: Files, unit: bool
) -> tuple[list[int], np.ndarray, list[str]]:
    """Rows and features (n, D) float32 of the images that can be read; what the others lack.

    Args:
        args: Of the loader, the folder that errors name, and the checkpoint.
        cfg: With its model.
        images: To look at.
        unit: Scale each feature to norm 1.

    Raises:
        ValueError: none can be read; or features are not finite.
    """
    model = backbones.build(cfg, args.checkpoint, args.prefix)
    extract = ModelEmbedder(model, unit=unit)
    loader = torch.utils.data.DataLoader(
        images, args.batch_size, num_workers=args.workers, collate_fn=list
    )
    rows: list[int] = []
    parts, bad = [], []
    with evaluation_mode(model):
        for batch in watched(loader, "embed", show=True):
            bad += [
                f"{printable(images.names[i])}: {what}"
                for i, what in batch
                if isinstance(what, str)
            ]
            good = [(i, what) for i, what in batch if not isinstance(what, str)]
            if good:
                data = {key: [what[key] for _, what in good] for key in good[0][1]}
                parts.append(extract(data)[0].cpu())
                rows += [i for i, _ in good]
    if not parts:
        raise ValueError(f"{args.folder}: none of its {len(images):,} images can be read. {bad[0]}")
    features = torch.cat(parts)
    refuse_nonfinite(features, "images", lambda row: images.names[rows[row]])
    return rows, features.numpy(), bad


def write_npz(names: list[str], features: np.ndarray, file: Any) -> None:
    """Arrays ``names`` (n,), printable texts, and ``features`` (n, D)."""
    np.savez(file, names=np.array([printable(name) for name in names]), features=features)


def write_csv(names: list[str], features: np.ndarray, file: Any, plain: bool = False) -> None:
    """A header, then a line an image: its name and D numbers that float32 reads back unchanged.

    Args:
        names: Printed; as formulas too where they are ``plain``.
        features: (n, D).
        file: Open for bytes.
        plain: Whether a name that a spreadsheet would run is left so.
    """
    text = io.TextIOWrapper(file, "utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(["name", *(f"f{i}" for i in range(features.shape[1]))])
    shown = printable if plain else for_spreadsheet
    for name, row in zip(names, features, strict=True):
        writer.writerow([shown(name), *(f"{value:.9g}" for value in row)])
    text.detach()


def write_parquet(names: list[str], features: np.ndarray, file: Any) -> None:
    """Columns ``name``, a printable text, and ``feature``, a list of D float32."""
    import pyarrow
    import pyarrow.parquet

    flat = pyarrow.array(features.ravel())
    column = pyarrow.FixedSizeListArray.from_arrays(flat, features.shape[1])
    pyarrow.parquet.write_table(
        pyarrow.table({"name": [*map(printable, names)], "feature": column}), file
    )


WRITERS: dict[str, Callable] = {".npz": write_npz, ".csv": write_csv, ".parquet": write_parquet}


def begin(args: argparse.Namespace) -> tuple[Config, int]:
    """Returns the config of the weights and the size that images are seen at, which is said.

    Raises:
        FileNotFoundError: There are no weights, or no folder to write to.
    """
    common.check_checkpoint(args.checkpoint)
    if not args.out.parent.is_dir():
        raise FileNotFoundError(f"--out {args.out}: there is no folder {args.out.parent}")
    init_default_scope("mmpretrain")
    cfg = backbones.load_config(args)
    size, why = backbones.image_size(args, cfg)
    print(f"image size {size} px: {why}", file=sys.stderr, flush=True)
    return cfg, size


def main(args: argparse.Namespace) -> None:
    """Extracts and writes."""
    cfg, size = begin(args)
    bits, channels = training_bit_depth(cfg), channel_reading(cfg)
    images = Images(args.folder, size, args.max_pixels, bits, args.tiles, channels)
    trained = training_tile(cfg)
    if trained and not args.tiles:
        print(
            f"trained on tiles of {trained} px, and images are seen whole here: --tiles {trained} "
            "gives a row for each tile",
            file=sys.stderr,
        )
    if images.others:
        print(passed_over(args.folder, images.others), file=sys.stderr, flush=True)
    rows, features, bad = embed(args, cfg, images, args.normalize)
    bad = images.left_out + bad
    names = [images.names[row] for row in rows]
    write = WRITERS[args.out.suffix]
    if args.plain_names and args.out.suffix == ".csv":
        write = partial(write_csv, plain=True)
    write_atomic(None, args.out, lambda _, file: write(names, features, file))
    for line in bad:
        print(f"left out: {line}", file=sys.stderr)
    left = f"; {len(bad):,} left out" if bad else ""
    print(
        f"{printable(args.out)}: {len(names):,} images x {features.shape[1]} numbers{left}",
        flush=True,
    )
