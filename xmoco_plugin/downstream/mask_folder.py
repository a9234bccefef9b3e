# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A folder of images and a folder of masks, as mmseg lays them out: class names and checks."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..untrusted import (
    FileRefusedError,
    FolderError,
    in_other_case,
    is_hidden,
    printable,
    read_json,
    refusal,
    walk_files,
)
from ..untrusted.image_file import FILE_LIMIT
from .errors import DownstreamError
from .settings import usual, write_hashed
from .voc_survey import names_of

CLASSES_FILE = "classes.json"
# What it may say beside the classes, and what holds where neither it nor the config does.
LAYOUT: dict[str, Any] = {
    "img_suffix": ".jpg",
    "seg_map_suffix": ".png",
    "reduce_zero_label": False,
}
CLASSES_LIMIT = 16 << 20  # bytes; ours: a hundred thousand classes with colours have a fifth of it


def layout_of(data: Mapping[str, Any], kind: type | None) -> dict[str, Any]:
    """Returns what a dataset's settings, else the parameters of its class, say of ``LAYOUT``."""
    return {k: data.get(k, usual(kind, k, v) if kind else v) for k, v in LAYOUT.items()}


def read_classes(root: Path) -> dict | None:
    """Returns classes and, if it has one, palette of root/classes.json; None without the file.

    Its other settings are those of :func:`read_layout`.

    Raises:
        DownstreamError: It holds no list of names.
    """
    path = root / CLASSES_FILE
    content = _read(path)
    if content is None:
        return None
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


def read_layout(root: Path) -> dict[str, Any]:
    """Returns what root/classes.json says of the files: endings, and whether 0 is no class.

    Raises:
        DownstreamError: It says something else than texts, true or false.
    """
    content = _read(root / CLASSES_FILE)
    if not isinstance(content, dict):
        return {}
    found = {key: content[key] for key in LAYOUT if content.get(key) is not None}
    for key, value in found.items():
        if not isinstance(value, type(LAYOUT[key])) or value == "":
            kind = "true or false" if LAYOUT[key] is False else "an ending such as '.png'"
            raise DownstreamError(f"{root / CLASSES_FILE}: {key} is {value!r}, not {kind}.")
    return found


def _read(path: Path) -> Any:
    if not os.path.lexists(path):
        return None
    try:
        return read_json(path, CLASSES_LIMIT)
    except FileRefusedError as error:
        raise DownstreamError(f"{path} cannot be read: {error}") from error


def in_hidden_folders(images: Path, suffix: str) -> list[str]:
    """Sorted paths, below a folder, of what mmseg lists and no walk of ours: it reads all folders.

    Args:
        images: The folder.
        suffix: Of the names.
    """
    found = []
    for folder, _, names in os.walk(images):
        below = os.path.relpath(folder, images)
        if any(map(is_hidden, below.split(os.sep))) and below != os.curdir:
            listed = (n for n in names if n.endswith(suffix) and not n.startswith("."))
            found += [os.path.join(below, name) for name in listed]
    return sorted(found)


def write_list(names: Sequence[str], folder: Path) -> Path:
    """Writes a list for mmseg, a name without its ending a line; the same names have the same file.

    Raises:
        DownstreamError: A name that the host would not read out of it.
    """
    odd = [name for name in names if name != name.strip() or not name.isprintable()]
    if odd:
        raise DownstreamError(
            f"{len(odd)} names are not to be written into a list for the host, and without one it "
            "would take the images of hidden folders, and pass over endings of another case; the "
            f"first is {printable(odd[0])!r}. Rename them."
        )
    text = "".join(f"{name}\n" for name in names)
    return write_hashed(text, folder, "", ".txt")


class Pair(NamedTuple):
    """An image and its mask.

    Attributes:
        name: Below the folder of the images, without its ending.
        image, mask: Files; an ending may be written in another case than the host looks for.
    """

    name: str
    image: Path
    mask: Path


def pairs(images: Path, masks: Path, image_suffix: str, mask_suffix: str) -> list[Pair]:
    """Returns each image with its mask, by their names.

    Endings of another case count, such as .JPG for .jpg; where both are there, the one that is
    asked for.

    Raises:
        DownstreamError: There is no image of that suffix, images without a mask, or something of
            either name that is no regular file.
    """
    try:
        listed = sorted(walk_files(images)) if images.is_dir() else []
    except FolderError as error:
        raise DownstreamError(str(error)) from error
    files: dict[str, str] = {}
    for exact in (False, True):  # what is asked for comes last, and takes the place
        for file in listed:
            if _ends(file, image_suffix, exact):
                files[file[: -len(image_suffix)]] = file
    if not files:
        others = sorted({Path(file).suffix for file in listed})
        raise DownstreamError(
            f"{images} has no file that ends in {image_suffix!r} (there are: "
            f"{', '.join(others) or 'none at all'}). Name the ending: "
            "--cfg-options train_dataloader.dataset.img_suffix=.png, and so for val and test."
        )
    return paired([(name, images / files[name]) for name in sorted(files)], masks, mask_suffix)


def listed_pairs(
    listed: Path, images: Path, masks: Path, image_suffix: str, mask_suffix: str
) -> list[Pair]:
    """Returns the pairs that a list names, a name without ending a line.

    Raises:
        DownstreamError: As :func:`pairs`, or the list cannot be read or is empty.
    """
    names, files = names_of(listed, images, image_suffix)
    found = [in_other_case(file) or file for file in files]
    return paired([*zip(names, found, strict=True)], masks, mask_suffix)


def paired(named: Sequence[tuple[str, Path]], masks: Path, mask_suffix: str) -> list[Pair]:
    """Returns images, by their names, with their masks.

    Args:
        named: Names without ending, and files of images.
        masks: Folder.
        mask_suffix: Of the masks' names.

    Raises:
        DownstreamError: Images or masks that are not there, or are no regular files.
    """
    found = []
    for name, image in named:
        mask = masks / f"{name}{mask_suffix}"
        found.append(Pair(name, image, in_other_case(mask) or mask))
    files = [*(pair.image for pair in found), *(pair.mask for pair in found)]
    reasons = {file: reason for file in files if (reason := refusal(file, FILE_LIMIT))}
    odd = [file for file, reason in reasons.items() if reason != "no such file"]
    if odd:
        raise DownstreamError(
            f"{len(odd)} of the images and their masks in {masks} cannot be read; the first is "
            f"{printable(odd[0])}: {reasons[odd[0]]}."
        )
    looked = {"image": [pair.image for pair in found], "mask": [pair.mask for pair in found]}
    for what, asked in looked.items():
        missing = [file for file in asked if file in reasons]
        if missing:
            raise DownstreamError(
                f"{len(missing)} of {len(found)} names have no {what} in {missing[0].parent}; the "
                f"first looked for is {printable(missing[0].name)}."
            )
    return found


def _ends(name: str, suffix: str, exact: bool) -> bool:
    """Whether a name has this ending; otherwise than `exact`, in whatever case of its last part."""
    if name.endswith(suffix):
        return exact
    last = suffix[suffix.rfind(".") :] if "." in suffix else ""
    tail = name[len(name) - len(suffix) :]
    return (
        not exact
        and bool(last)
        and tail.lower() == suffix.lower()
        and tail[: -len(last)] == suffix[: -len(last)]
    )
