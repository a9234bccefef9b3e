# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The pictures of gpu_run.sh: CIFAR-10 as a few JPEGs, written and read; photographs, or noise."""

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

# A mosaic: so many tiles, whose sides are multiples of a JPEG's blocks, so that none bleeds.
ROWS, COLUMNS, TILE = 50, 40, 32
SIZE = (500, 375)  # of the photographs, as ImageNet's are on average


def mosaics(data: Path, out: Path) -> list[Path]:
    """CIFAR-10 as JPEGs of quality 90 without subsampling, a fifth of its bytes; and its labels.

    Raises:
        SystemExit: the folder has no archives of 32 px.
    """
    labels = {}
    for split in ("train", "test"):
        try:
            with np.load(data / f"{split}.npz", allow_pickle=False) as archive:
                images, labels[split] = archive["images"], archive["labels"]
        except (OSError, KeyError, ValueError) as error:
            raise SystemExit(
                f"no CIFAR-10 in {data}: {error}. It holds train.npz and test.npz with images and "
                "labels, as tools/cifar10_to_npz.py writes them."
            ) from error
        if images.shape[1:] != (TILE, TILE, 3):
            raise SystemExit(f"{data / split}.npz has images of {images.shape[1:]}, not of 32 px")
        rows, columns, tile = ROWS, COLUMNS, TILE
        for i, start in enumerate(range(0, len(images), rows * columns)):
            part = np.zeros((rows * columns, tile, tile, 3), np.uint8)
            taken = images[start : start + rows * columns]
            part[: len(taken)] = taken
            sheet = part.reshape(rows, columns, tile, tile, 3).transpose(0, 2, 1, 3, 4)
            picture = Image.fromarray(sheet.reshape(rows * tile, columns * tile, 3))
            picture.save(out / f"{split}_{i:03d}.jpg", quality=90, subsampling=0)
    np.savez_compressed(out / "labels.npz", **labels)
    return sorted(out.iterdir())


def unpack(folder: Path, out: Path) -> Path | None:
    """Writes train.npz and test.npz from the parcel's mosaics; None where it has none."""
    source = folder / "cifar10"
    if not source.is_dir():
        return None
    out.mkdir(parents=True, exist_ok=True)
    with np.load(source / "labels.npz", allow_pickle=False) as labels:
        for split in labels.files:
            np.savez(
                out / f"{split}.npz",
                images=tiles(source, split, len(labels[split])),
                labels=labels[split],
            )
    return out


def tiles(folder: Path, split: str, count: int):
    """(count, 32, 32, 3) uint8 RGB out of a split's mosaics."""
    parts = []
    for file in sorted(folder.glob(f"{split}_*.jpg")):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        shaped = pixels.reshape(ROWS, TILE, COLUMNS, TILE, 3).transpose(0, 2, 1, 3, 4)
        parts.append(shaped.reshape(-1, TILE, TILE, 3))
    return np.concatenate(parts)[:count]


def photographs(images: Path | None, out: Path, count: int = 64) -> list[Path]:
    """So many JPEGs of a folder, evenly spaced; else crops of scikit-image's photographs."""
    if images is not None:
        found = sorted(f for f in images.rglob("*") if f.suffix.lower() in (".jpg", ".jpeg"))
        if not found:
            raise SystemExit(f"no .jpg or .jpeg in {images}")
        for i, file in enumerate(found[:: max(len(found) // count, 1)][:count]):
            shutil.copyfile(file, out / f"{i:04d}.jpg")
        return sorted(out.iterdir())
    from skimage import data

    draw = np.random.default_rng(0)
    names = ("astronaut", "chelsea", "coffee", "rocket", "stereo_motorcycle")
    for i in range(count):
        loaded = getattr(data, names[i % len(names)])()
        photo = Image.fromarray(loaded[0] if isinstance(loaded, tuple) else loaded)
        width, height = SIZE
        scale = max(width / photo.width, height / photo.height) * draw.uniform(1, 1.2)
        photo = photo.resize((int(photo.width * scale) + 1, int(photo.height * scale) + 1))
        left, top = draw.integers(photo.width - width + 1), draw.integers(photo.height - height + 1)
        box = (int(left), int(top), int(left) + width, int(top) + height)
        photo.crop(box).save(out / f"{i:04d}.jpg", quality=90)
    return sorted(out.iterdir())


def draw_photos(out: Path, count: int) -> Path:
    """JPEGs of smooth noise, where no photographs were given: as large, and about as many bytes."""
    out.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for i in range(count):
        coarse = draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = np.asarray(
            Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC), np.int16
        )
        grain = draw.integers(-24, 25, (SIZE[1], SIZE[0], 1))
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(out / f"{i:04d}.jpg", quality=90)
    return out
