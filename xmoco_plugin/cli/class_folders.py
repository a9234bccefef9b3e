# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a host's dataset would make of folders of classes, said before it does."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import ConfigDict
from mmpretrain.datasets import CustomDataset, ImageNet
from mmpretrain.registry import DATASETS

from xmoco_plugin.untrusted import count_endings, folders_in, is_hidden, printable, walk_images

UNLABELED = (
    " To pretrain on a folder of another layout: dataset=dict(_delete_=True, "
    "type='UnlabeledFolder', data_root='FOLDER', pipeline=...), see docs/plug_in.md."
)
# That the host's CustomDataset reads by default.
HOST_ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif")


def check_classes(data: ConfigDict, folders: Sequence[Path]) -> None:
    """Checks the folders of classes that a host's dataset reads, without a list of its own.

    Raises:
        ValueError: ImageNet's with another number of them, or hidden ones, which the host takes for
            classes.
    """
    kind = DATASETS.get(data.type) if isinstance(data.type, str) else data.type
    if kind not in (CustomDataset, ImageNet) or data.get("ann_file"):
        return
    for folder in filter(os.path.isdir, folders):
        name = kind.__name__
        if kind is ImageNet:
            named = data.get("classes") or (data.get("metainfo") or {}).get("classes")
            asked = len(named or ImageNet.METAINFO["classes"]) if not isinstance(named, str) else 0
            there = len(folders_in(folder))
            if asked and there != asked:
                raise ValueError(
                    f"{name}: {folder} holds {there:,} folders of classes, and {asked:,} are "
                    f"expected.{UNLABELED}"
                )
        hidden = [e.name for e in os.scandir(folder) if e.is_dir() and is_hidden(e.name)]
        if hidden and data.get("with_label", True):
            raise ValueError(
                f"{name}: {folder} holds {printable(hidden[0])}, which the host takes for a "
                "class: remove it, or read the folder by type='LabelledFolder'."
            )
        if kind is CustomDataset:
            _say_passed_over(folder, tuple(data.get("extensions") or HOST_ENDINGS))


def _say_passed_over(folder: Path, endings: tuple[str, ...]) -> None:
    images, _ = walk_images(folder)
    passed = [path for path in images if not path.lower().endswith(endings)]
    if passed:
        print(
            f"warning: CustomDataset passes over {len(passed):,} of {len(images):,} images in "
            f"{printable(folder)}: {count_endings(passed)}. type='UnlabeledFolder' and "
            "'LabelledFolder' read them.",
            file=sys.stderr,
        )
