# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A labelled folder on the disk -> configs of its training and test set, without augmentation."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmpretrain.datasets.categories import VOC2007_CATEGORIES

from ..untrusted import FileRefusedError, check_voc, folders_in, printable, voc_image, voc_names

VOC_META = ("img_path", "gt_label_difficult")
FULL_DEPTH = 16  # bits of 16-bit grey that are read by default
READERS = ("LoadImageOrSkip", "LoadTileOrSkip")
TILE_READERS = ("LoadTileOrSkip", "LoadChannelsOrSkip")
STRICT = dict(type="LoadImageOrSkip", on_error="raise")


class LabelledSetConfigs(NamedTuple):
    """Dataset configs.

    Attributes:
        train, test: plain ones; resized and centre-cropped, where images are files.
        augmented: ``train`` with the linear protocol's random crop and flip.
    """

    train: dict[str, Any]
    test: dict[str, Any]
    augmented: dict[str, Any]


def labelled_sets(root: str | Path, size: int = 224) -> LabelledSetConfigs:
    """Recognise what lies in a folder.

    =================================  ==========================================================
    holds                              is read as
    =================================  ==========================================================
    train.npz and test.npz             `NpzImages`, the pixels as they are
    JPEGImages/ and ImageSets/Main/    PASCAL VOC, trainval and test, several labels an image
    train/ and val/ (or test/)         one folder a class, known by its name in both
    =================================  ==========================================================

    Files are resized so that the short side is 8/7 of ``size`` (256 for 224) and cropped to the
    centre, as the host's ImageNet configs do. Unreadable files end the run with their names.

    Args:
        root: the folder.
        size: side of the images that the backbone sees, in pixels.

    Raises:
        FileNotFoundError: none of the three is there; names what is.
        ValueError: the test set has a class that the training set has not.
        FileRefusedError: a list or an annotation of VOC that the host shall not parse.
    """
    root = Path(root).expanduser()
    if (root / "train.npz").is_file() and (root / "test.npz").is_file():
        arrays = dict(type="NpzImages", data_root=str(root))
        padded = [
            dict(type="RandomCrop", crop_size=size, padding=size // 8),
            dict(type="RandomFlip", prob=0.5),
        ]
        return _configs(
            {**arrays, "split": "train"}, {**arrays, "split": "test"}, [], [], padded, ()
        )
    plain = _centre_crop(size)
    random = [
        dict(type="RandomResizedCrop", scale=size, backend="pillow"),
        dict(type="RandomFlip", prob=0.5),
    ]
    read = [dict(STRICT)]
    if (root / "JPEGImages").is_dir() and (root / "ImageSets" / "Main").is_dir():
        for split in ("trainval", "test"):
            if (listed := root / "ImageSets" / "Main" / f"{split}.txt").exists():
                _check_voc(listed, root / "Annotations")
        voc = dict(type="VOC", data_root=str(root))
        sets = ({**voc, "split": "trainval"}, {**voc, "split": "test"})
        # The host makes a.jpg of each name: the check takes the a.JPG that is there.
        return _configs(*sets, [dict(type="CheckImageFile"), *read], plain, random, VOC_META)
    test = test_folder(root)
    if (root / "train").is_dir() and test:
        classes = split_classes(root / "train", test)
        train, val = (
            dict(type="LabelledFolder", data_root=str(f), classes=classes)
            for f in (root / "train", test)
        )
        return _configs(train, val, read, plain, random, ("img_path",))
    there = sorted(p.name for p in root.iterdir())[:10] if root.is_dir() else None
    raise FileNotFoundError(
        f"{root} "
        + (f"holds {', '.join(there) or 'nothing'}" if there is not None else "does not exist")
        + "; a labelled set is train/ and val/ with a folder for each class, or train.npz and "
        "test.npz, or VOC's JPEGImages/, Annotations/ and ImageSets/"
    )


def _check_voc(listed: Path, annotations: Path) -> None:
    """Checks that the host can read what a list of VOC's names.

    Raises:
        FileRefusedError: It is not fit to be parsed, or an object does not say what the host asks.
    """
    check_voc(listed, annotations)
    for name in voc_names(listed):
        file = annotations / f"{name}.xml"
        boxes = voc_image(file, VOC2007_CATEGORIES).boxes if file.is_file() else ()
        if any(box.difficult is None for box in boxes if box.name in VOC2007_CATEGORIES):
            raise FileRefusedError(f"{printable(file)}: it has an object without <difficult>")


def split_classes(train: Path, test: Path) -> list[str]:
    """Classes of a training and a test folder: names and numbers are the same in both.

    The test set may lack some.

    Raises:
        ValueError: It has others; names what only one of them has.
        FolderError: A folder that cannot be read.
    """
    classes, asked = folders_in(train), folders_in(test)
    if set(asked) - set(classes):
        odd = sorted(set(asked) ^ set(classes))
        more = f" and {len(odd) - 10:,} more" if len(odd) > 10 else ""
        raise ValueError(
            "training and test set differ in their classes: "
            f"{printable(', '.join(odd[:10]))}{more}. A class is known by its folder's name, and "
            f"{test} holds some that {train} does not"
        )
    return classes


def test_folder(root: Path) -> Path | None:
    """The folder of the test set beside train/; None where there is none."""
    return next((root / name for name in ("val", "test") if (root / name).is_dir()), None)


def file_pipeline(size: int = 224) -> list[dict[str, Any]]:
    """Transforms from a file to what a backbone is judged on; see :func:`labelled_sets`."""
    return [dict(STRICT), *_centre_crop(size), dict(type="PackInputs", meta_keys=("img_path",))]


def limit_pixels(settings: Any, max_pixels: int | None) -> None:
    """Gives a limit of pixels to whatever in settings, at any depth, reads or checks images.

    Args:
        settings: Of loaders, datasets or a pipeline; changed in place.
        max_pixels: Of an image, height times width; None changes nothing.
    """
    if max_pixels is not None:
        for part in _readers(settings, (*READERS, "LoadChannelsOrSkip", "CheckImageFile")):
            part["max_pixels"] = max_pixels


def set_bit_depth(settings: Any, bits: int) -> None:
    """Lets whatever in settings, at any depth, reads images take 16-bit grey for so many bits.

    Args:
        settings: Of loaders, datasets or a pipeline; changed in place.
        bits: 8 to 16, which is what is read anyway.
    """
    if bits != FULL_DEPTH:
        for part in _readers(settings, READERS):
            part["bit_depth"] = bits


def pick_channels(settings: Any, picked: Sequence[int]) -> None:
    """Lets whatever in settings, at any depth, reads channels hand on those that are picked.

    Args:
        settings: Of loaders, datasets or a pipeline; changed in place.
        picked: Counted from 1.
    """
    for part in _readers(settings, ("LoadChannelsOrSkip",)):
        part["picked"] = list(picked)


def training_bit_depth(cfg: Mapping[str, Any]) -> int:
    """The bits that a config's training reads 16-bit grey with; what is no number is not taken."""
    found = [part.get("bit_depth") for part in _readers(cfg.get("train_dataloader"), READERS)]
    found.append(cfg.get("bit_depth"))  # of an export
    return next((bits for bits in found if type(bits) is int and 8 <= bits <= 16), FULL_DEPTH)


def training_tile(cfg: Mapping[str, Any]) -> int | None:
    """Side of the tiles that a config's training reads, in pixels; None for whole images."""
    found = [part.get("side") for part in _readers(cfg.get("train_dataloader"), TILE_READERS)]
    found.append(cfg.get("tiles"))  # of an export
    return next((side for side in found if type(side) is int and side > 0), None)


def _readers(settings: Any, names: Sequence[str]) -> Iterator[dict]:
    """Settings of transforms of these names, at any depth."""
    waiting = [settings]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if str(part.get("type")).split(".")[-1] in names:
                yield part
            waiting += part.values()
        elif isinstance(part, (list, tuple)):
            waiting += part


def _centre_crop(size: int) -> list[dict[str, Any]]:
    return [
        dict(type="ResizeEdge", scale=round(size * 8 / 7), edge="short", backend="pillow"),
        dict(type="CenterCrop", crop_size=size),
    ]


def _configs(
    train: dict, test: dict, read: list, plain: list, random: list, meta: tuple
) -> LabelledSetConfigs:
    pack = [dict(type="PackInputs", meta_keys=meta)]
    return LabelledSetConfigs(
        {**train, "pipeline": [*read, *plain, *pack]},
        {**test, "pipeline": [*read, *plain, *pack], "test_mode": True},
        {**train, "pipeline": [*read, *random, *pack]},
    )
