# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Images of coloured shapes, with boxes in COCO format and with masks in mmseg's layout."""

import json
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ("square", "disc", "triangle")
COLOURS = ((220, 60, 50), (60, 90, 220), (70, 190, 80))
SIZE = 96


def draw(root: Path, train: int = 24, val: int = 8) -> Path:
    """Draws both stages below `root`; the images are shared by the two layouts."""
    rng = np.random.default_rng(0)
    (root / "annotations").mkdir(parents=True)
    for stage, count in (("train", train), ("val", val)):
        images, annotations = [], []
        for folder in (stage, f"img_dir/{stage}", f"ann_dir/{stage}"):
            (root / folder).mkdir(parents=True)
        for i in range(count):
            picture, mask, boxes = shapes(rng)
            name = f"{i:03d}.jpg"
            picture.save(root / stage / name, quality=95)
            picture.save(root / "img_dir" / stage / name, quality=95)
            mask.save(root / "ann_dir" / stage / name.replace("jpg", "png"))
            images.append(dict(id=i, file_name=name, width=SIZE, height=SIZE))
            for category, (x, y, side) in boxes:
                corners = [x, y, x + side, y, x + side, y + side, x, y + side]
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=i,
                        category_id=category + 1,
                        bbox=[x, y, side, side],
                        area=side * side,
                        iscrowd=0,
                        segmentation=[corners],
                    )
                )
        categories = [dict(id=i + 1, name=name) for i, name in enumerate(CLASSES)]
        (root / "annotations" / f"{stage}.json").write_text(
            json.dumps(dict(images=images, annotations=annotations, categories=categories))
        )
    (root / "classes.json").write_text(json.dumps(dict(classes=["ground", *CLASSES])))
    return root


def shapes(rng: np.random.Generator) -> tuple[Image.Image, Image.Image, list]:
    """One picture, its mask (0 is the ground), and two shapes: class and (x, y, side)."""
    noise = rng.integers(90, 130, (SIZE, SIZE, 3)).astype(np.uint8)
    picture, mask = Image.fromarray(noise), Image.new("L", (SIZE, SIZE), 0)
    boxes = []
    for half in rng.permutation(2):
        category = int(rng.integers(len(CLASSES)))
        side = int(rng.integers(26, 42))
        x = int(half) * SIZE // 2 + int(rng.integers(0, SIZE // 2 - side))
        y = int(rng.integers(0, SIZE - side))
        for image, fill in ((picture, COLOURS[category]), (mask, category + 1)):
            pen = ImageDraw.Draw(image)
            if category == 0:
                pen.rectangle((x, y, x + side - 1, y + side - 1), fill=fill)
            elif category == 1:
                pen.ellipse((x, y, x + side - 1, y + side - 1), fill=fill)
            else:
                corners = [(x + side // 2, y), (x, y + side - 1), (x + side - 1, y + side - 1)]
                pen.polygon(corners, fill=fill)
        boxes.append((category, (x, y, side)))
    return picture, mask, boxes


def edit(path: Path, change) -> None:
    """Rewrites an annotation file by a function that changes its content in place."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
