# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
from pathlib import Path

import numpy as np
from mmengine.logging import MMLogger
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from ..untrusted import open_regular
from .npz_file import NPZ_DAMAGES, NPZ_LIMIT, read_npz

MOST_CLASSES = 10_000_000  # each gets a name (ours)
# Under which others keep the classes' names: most as objects, which only unpickling reads.
CLASS_NAMES = ("classes", "class_names", "label_names", "target_names", "names")


@DATASETS.register_module()
class NpzImages(BaseDataset):
    """Images of one size in numpy archives, ``{data_root}/{split}.npz``, held in memory.

    An archive holds ``images``, (N, H, W, 3) uint8 RGB, and, if there are labels, ``labels``, (N,)
    integers from 0. Samples carry ``img`` (H, W, 3) in BGR, as OpenMMLab's configs expect
    (``to_rgb=True``), so a pipeline needs no loading transform. Nothing in the archive is
    unpickled. Forked loader processes share the one array.

    Args:
        data_root (str): Folder of the archives.
        split (str): Name of the archive without ``.npz``. Defaults to 'train'.
        max_bytes (int): That its arrays may have, judged before any is read. Defaults to 32 GB.
        kwargs: Of mmpretrain's BaseDataset (``pipeline``, ``classes``, ``indices``, ...). Where
            there are labels and no ``classes``, the classes are named '0', '1', ...

    Raises:
        FileNotFoundError: No such archive; the message lists those that are there.
        ValueError: What is wrong with its arrays, with their shapes and types.
    """

    def __init__(
        self, data_root: str, split: str = "train", max_bytes: int = NPZ_LIMIT, **kwargs
    ) -> None:
        self.split = split
        self.max_bytes = max_bytes
        self.path = Path(data_root).expanduser() / f"{split}.npz"
        self._images: np.ndarray
        self._labels: np.ndarray | None
        super().__init__(ann_file="", data_root=data_root, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the archive; one entry an image: its row and, if there are labels, ``gt_label``."""
        self._images, self._labels = self._read()
        labels = self._labels
        if labels is None:
            return [dict(row=row) for row in range(len(self._images))]
        names = self._metainfo.setdefault(
            "classes", tuple(str(label) for label in range(int(labels.max()) + 1))
        )
        if int(labels.max()) >= len(names):
            raise ValueError(
                f"{self.path}: the largest label is {int(labels.max())}, but only {len(names)} "
                "classes are named; labels count from 0"
            )
        return [dict(row=row, gt_label=int(label)) for row, label in enumerate(labels)]

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray | None]:
        """(N, H, W, 3) images in RGB, and (N,) labels where there are any, as they are stored."""
        return self._images, self._labels

    def get_data_info(self, idx: int) -> dict:
        """The entry with ``img``, a (H, W, 3) uint8 BGR copy that transforms may write to."""
        info = super().get_data_info(idx)
        info["img"] = np.ascontiguousarray(self._images[info.pop("row")][:, :, ::-1])
        info["img_shape"] = info["ori_shape"] = info["img"].shape[:2]
        return info

    def _read(self) -> tuple[np.ndarray, np.ndarray | None]:
        if not os.path.lexists(self.path):
            there = sorted(file.name for file in self.path.parent.glob("*.npz"))
            raise FileNotFoundError(
                f"no archive {self.path}; the folder "
                + (f"holds {', '.join(there)}" if there else "has no .npz file or does not exist")
                + ": check data_root and split"
            )
        try:
            with open_regular(self.path) as file:
                keys, found = read_npz(file, ("images", "labels"), self.max_bytes)
        except NPZ_DAMAGES as error:
            raise ValueError(
                f"{self.path} is not a readable .npz of plain arrays: {error}. Write it with "
                "numpy.savez(path, images=..., labels=...)"
            ) from error
        if "images" not in found:
            raise ValueError(f"{self.path} has no array 'images', but {keys or 'nothing at all'}")
        images, labels = found["images"], found.get("labels")
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or not images.size:
            raise ValueError(
                f"{self.path}: 'images' is {images.dtype} of shape {images.shape}; it must be "
                "uint8 of shape (N, H, W, 3), RGB, N at least 1"
            )
        if labels is None:
            return images, None
        if labels.shape != (len(images),):
            raise ValueError(
                f"{self.path}: 'labels' has shape {labels.shape} beside {len(images)} images; "
                f"it must be ({len(images)},)"
            )
        if labels.dtype.kind in "iu" and int(labels.max()) > MOST_CLASSES:
            raise ValueError(
                f"{self.path}: the largest label is {int(labels.max())}; labels count from 0, and "
                f"{MOST_CLASSES:,} is the most"
            )
        if labels.dtype.kind not in "iu" or int(labels.min()) < 0:
            raise ValueError(
                f"{self.path}: 'labels' is {labels.dtype} with minimum {labels.min()}; labels are "
                "integers from 0"
            )
        named = [key for key in keys if key in CLASS_NAMES]
        if named and not self._metainfo.get("classes"):
            MMLogger.get_current_instance().warning(
                f"{self.path}: the array {named[0]!r} is not read, and its classes are called '0', "
                "'1', ...: name them with classes=[...] of the dataset"
            )
        return images, labels

    def extra_repr(self) -> list[str]:
        """Lines of ``repr``."""
        return [f"Archive: \t{self.path}"]
