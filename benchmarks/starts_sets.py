# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Sets of small labelled images for starts.py, of what lies in the layouts of four kinds of data.

OUT/NAME/train.npz and test.npz hold `images` (uint8 (N, S, S, 3) RGB) and `labels`; a set of your
own in that format serves as well. What is asked for at test time is never of an image trained on.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from study_data import read_split

SIDE = 96  # px that photographs and tiles are stored with
Labelled = tuple[np.ndarray, int]
# Of the centres of cells in a tile, the rarest first; a tile is of the first that it holds.
RARE = ("WBC", "Platelets")
CROWDED = 2  # red cells in a tile


def flowers(folder: Path) -> dict[str, list[Labelled]]:
    """Photographs in a folder for each class, in train/ and val/: 30 a class are trained on."""
    parts: dict[str, list[Labelled]] = dict(train=[], test=[])
    for label, name in enumerate(sorted(p.name for p in (folder / "train").iterdir())):
        files = [p for part in ("train", "val") for p in sorted((folder / part / name).iterdir())]
        for i, file in enumerate(files):
            image = Image.open(file).convert("RGB")
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            pixels = _stored(image.crop((left, top, left + side, top + side)))
            parts["train" if i < 30 else "test"].append((pixels, label))
    return parts


def satellite(folder: Path, tile: int = 106, share: float = 0.4) -> dict[str, list[Labelled]]:
    """Tiles of scenes in mmseg's layout, of the class that covers at least ``share`` of each."""
    parts: dict[str, list[Labelled]] = {}
    for part, split in (("train", "train"), ("test", "val")):
        parts[part] = []
        for file in sorted((folder / "img_dir" / split).iterdir()):
            mask = np.asarray(Image.open(folder / "ann_dir" / split / f"{file.stem}.png"))
            for pixels, (y, x) in _tiles(file, tile):
                counts = np.bincount(mask[y : y + tile, x : x + tile].ravel(), minlength=256)[:255]
                if counts.max() >= share * tile * tile:
                    parts[part].append((pixels, int(counts.argmax())))
    return parts


def cells(folder: Path, tile: int = 160) -> dict[str, list[Labelled]]:
    """Tiles of smears in COCO's format: with a white cell, else with a platelet, else crowded, else
    sparse."""
    parts: dict[str, list[Labelled]] = {}
    for part, split in (("train", "train"), ("test", "val")):
        found = json.loads((folder / "annotations" / f"{split}.json").read_text())
        kinds = {category["id"]: category["name"] for category in found["categories"]}
        boxes: dict[int, list[tuple[str, float, float]]] = {}
        for box in found["annotations"]:
            x, y, w, h = box["bbox"]
            middle = kinds[box["category_id"]], x + w / 2, y + h / 2
            boxes.setdefault(box["image_id"], []).append(middle)
        parts[part] = []
        for image in found["images"]:
            for pixels, (y, x) in _tiles(folder / split / image["file_name"], tile):
                inside = [
                    kind
                    for kind, at_x, at_y in boxes.get(image["id"], [])
                    if x <= at_x < x + tile and y <= at_y < y + tile
                ]
                rare = [label for label, kind in enumerate(RARE) if kind in inside]
                parts[part].append((pixels, rare[0] if rare else 2 + (len(inside) < CROWDED)))
    return parts


def things(
    folder: Path, classes: int = 20, train: int = 50, test: int = 30
) -> dict[str, list[Labelled]]:
    """The first images of the first classes of CIFAR-100, or of a set in the same format."""
    parts: dict[str, list[Labelled]] = {}
    for part, most in (("train", train), ("test", test)):
        images, labels = read_split(folder, part)
        rows = np.concatenate([np.flatnonzero(labels == c)[:most] for c in range(classes)])
        parts[part] = [(images[row], int(labels[row])) for row in rows]
    return parts


MAKERS = dict(flowers=flowers, satellite=satellite, cells=cells, things=things)


def _tiles(file: Path, side: int) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """Pixels of each whole tile of an image and its upper left corner."""
    image = Image.open(file).convert("RGB")
    for y in range(0, image.height - side + 1, side):
        for x in range(0, image.width - side + 1, side):
            yield _stored(image.crop((x, y, x + side, y + side))), (y, x)


def _stored(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def write_set(parts: dict[str, list[Labelled]], folder: Path) -> str:
    """Writes both archives; returns how many images of each class are in each."""
    folder.mkdir(parents=True, exist_ok=True)
    said = []
    for part, rows in parts.items():
        labels = np.array([label for _, label in rows])
        np.savez(folder / f"{part}.npz", images=np.stack([i for i, _ in rows]), labels=labels)
        said.append(f"{part} {np.bincount(labels).tolist()}")
    return f"{folder.name}: {', '.join(said)}"


def main(words: Iterable[str] | None = None) -> None:
    """Makes the sets whose data are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    for name, maker in MAKERS.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER", help=maker.__doc__)
    args = parser.parse_args(words if words is None else list(words))
    for name, maker in MAKERS.items():
        if (source := getattr(args, name)) is not None:
            print(write_set(maker(source), args.out / name))


if __name__ == "__main__":
    main()
