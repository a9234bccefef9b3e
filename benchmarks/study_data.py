# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of study.py: small labelled images, in the parts that a study needs."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from xmoco_plugin.evaluation.linear_probe import held_out_rows

TILE, ACROSS, DOWN = 32, 40, 50  # of a mosaic: pixels a side of an image, images a row, rows


@dataclass(frozen=True)
class Sets:
    """Images uint8 (N, 3, 32, 32) RGB and labels of the parts of a set."""

    train: tuple[torch.Tensor, torch.Tensor]
    chosen_by: tuple[torch.Tensor, torch.Tensor]  # training images held out, to choose by
    test: tuple[torch.Tensor, torch.Tensor]


def read_split(folder: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 (N, 32, 32, 3) RGB and labels (N,).

    Args:
        folder: holds {split}.npz with `images` and `labels`; or mosaics {split}_*.jpg of 40 x 50
            tiles, row r of class r mod C, with the C names in classes.txt, a line each.

    Raises:
        SystemExit: it holds neither, or the archive other arrays.
    """
    archive = folder / f"{split}.npz"
    if archive.is_file():
        with np.load(archive) as arrays:
            found = {name: arrays[name] for name in ("images", "labels") if name in arrays}
        shapes = {name: f"{array.dtype} {array.shape}" for name, array in found.items()}
        images, labels = found.get("images"), found.get("labels")
        if images is None or labels is None or labels.shape != images.shape[:1]:
            raise SystemExit(f"{archive} must hold images and a label for each, and has {shapes}")
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise SystemExit(f"{archive}: images must be uint8 (N, H, W, 3), and are {shapes}")
        return images, labels.astype(np.int64)
    tiles, names = sorted(folder.glob(f"{split}_*.jpg")), folder / "classes.txt"
    if not tiles or not names.is_file():
        raise SystemExit(
            f"--data {folder} has no {split}.npz, and no {split}_*.jpg with a classes.txt"
        )
    parts = []
    for tile in tiles:
        pixels = np.asarray(Image.open(tile).convert("RGB"))
        rows = pixels.reshape(DOWN, TILE, ACROSS, TILE, 3).transpose(0, 2, 1, 3, 4)
        parts.append(rows.reshape(-1, TILE, TILE, 3))
    images = np.concatenate(parts)
    return images, np.arange(len(images)) % len(names.read_text().split())


def read_sets(folder: Path, held_out: int, images: int) -> Sets:
    """The set, `held_out` training images of all classes kept apart; the same rows every time."""
    pixels, labels = (torch.from_numpy(x) for x in read_split(folder, "train"))
    pixels = pixels.permute(0, 3, 1, 2)
    if not 0 < held_out <= len(labels) - images:
        raise SystemExit(
            f"--images {images} and --held-out {held_out} do not go into {len(labels)} images"
        )
    apart = torch.zeros(len(labels), dtype=torch.bool)
    apart[held_out_rows(labels, held_out / len(labels), seed=0)] = True
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    kept = order[~apart[order]][:images]
    test = (torch.from_numpy(x) for x in read_split(folder, "test"))
    test_pixels, test_labels = test
    return Sets(
        (pixels[kept].contiguous(), labels[kept]),
        (pixels[apart], labels[apart]),
        (test_pixels.permute(0, 3, 1, 2), test_labels),
    )
