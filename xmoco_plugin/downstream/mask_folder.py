# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A folder of images and a folder of masks, as mmseg lays them out: class names and checks."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..untrusted import (
    FileRefusedError,
    FolderError,
    open_image,
    open_regular,
    printable,
    read_json,
    refusal,
    walk_files,
)
from ..untrusted.image_file import FILE_LIMIT
from .errors import DownstreamError

CLASSES_FILE = "classes.json"
CLASSES_LIMIT = 16 << 20  # bytes; ours: a hundred thousand classes with colours have a fifth of it


def read_classes(root: Path) -> dict | None:
    """Returns classes and, if it has one, palette of root/classes.json; None without the file.

    Raises:
        DownstreamError: It holds no list of names.
    """
    path = root / CLASSES_FILE
    if not os.path.lexists(path):
        return None
    try:
        content = read_json(path, CLASSES_LIMIT)
    except FileRefusedError as error:
        raise DownstreamError(f"{path} cannot be read: {error}") from error
    classes = content.get("classes") if isinstance(content, dict) else content
    if (
        not classes
        or not isinstance(classes, list)
        or not all(isinstance(name, str) for name in classes)
    ):
        raise DownstreamError(
            f'{path} names no classes: {{"classes": ["road", ...]}} is needed, in the order of '
            "the values in the masks."
        )
    meta = dict(classes=list(classes))
    if isinstance(content, dict) and content.get("palette"):
        meta["palette"] = content["palette"]
    return meta


def pairs(images: Path, masks: Path, image_suffix: str, mask_suffix: str) -> list[Path]:
    """Returns the mask of every image.

    Raises:
        DownstreamError: There is no image of that suffix, images without a mask, or something of
            either name that is no regular file.
    """
    try:
        listed = sorted(Path(name) for name in walk_files(images)) if images.is_dir() else []
    except FolderError as error:
        raise DownstreamError(str(error)) from error
    found = [images / name for name in listed if str(name).endswith(image_suffix)]
    if not found:
        others = sorted({name.suffix for name in listed})
        raise DownstreamError(
            f"{images} has no file that ends in {image_suffix!r} (there are: "
            f"{', '.join(others) or 'none at all'}). Name the ending: "
            "--cfg-options train_dataloader.dataset.img_suffix=.png, and so for val and test."
        )
    names = [str(p.relative_to(images))[: -len(image_suffix)] + mask_suffix for p in found]
    files = [*found, *(masks / name for name in names)]
    reasons = {file: reason for file in files if (reason := refusal(file, FILE_LIMIT))}
    odd = [file for file, reason in reasons.items() if reason != "no such file"]
    if odd:
        raise DownstreamError(
            f"{len(odd)} of the images in {images} and their masks in {masks} cannot be read; the "
            f"first is {printable(odd[0])}: {reasons[odd[0]]}."
        )
    missing = [name for name in names if masks / name in reasons]
    if missing:
        raise DownstreamError(
            f"{len(missing)} of {len(found)} images in {images} have no mask in {masks}; the "
            f"first looked for is {missing[0]}."
        )
    return [masks / name for name in names]


def mask_values(files: Sequence[Path], ignore: int) -> dict[int, Path]:
    """Returns each value of the masks but `ignore`, with the first file that has it.

    Raises:
        DownstreamError: A mask is a picture in colours, or cannot be read.
    """
    values: dict[int, Path] = {}
    for file in files:
        try:
            with open_regular(file, FILE_LIMIT) as opened, open_image(opened) as image:
                mask = np.asarray(image)
        except MemoryError:
            raise
        except Exception as error:  # nearly any, of Pillow's readers on damaged files
            raise DownstreamError(f"the mask {file} cannot be read: {error}") from error
        if mask.ndim != 2:
            raise DownstreamError(
                f"the mask {file} is a picture with {mask.shape[-1]} channels. mmseg needs one "
                "channel that holds the number of the class, from 0."
            )
        for value in np.unique(mask):
            values.setdefault(int(value), file)
    values.pop(ignore, None)
    return values
