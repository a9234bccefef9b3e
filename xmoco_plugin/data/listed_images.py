# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os

import numpy as np
from mmpretrain.registry import DATASETS

from ..untrusted import refusal
from ..untrusted.files import ANNOTATION_LIMIT
from .row_dataset import RowDataset


@DATASETS.register_module()
class ListedImages(RowDataset):
    """Images that a text file names, one path a line, without labels.

    The file is memory-mapped: neither the process nor its workers hold a list of the paths, and a
    million of them are ready in well under a second.

    Args:
        ann_file (str): The text file, UTF-8; empty lines are left out.
        data_root (str): What relative paths, also ``ann_file``'s, start from. Defaults to ''.
        kwargs: Of mmpretrain's BaseDataset (``pipeline``, ``indices``, ...).

    Raises:
        FileNotFoundError: No such file.
        ValueError: It names nothing, is no regular file, or is above 4 GB.
    """

    def __init__(self, ann_file: str, data_root: str = "", **kwargs) -> None:
        super().__init__(
            ann_file=ann_file,
            data_root=os.path.expanduser(data_root),
            serialize_data=False,
            **kwargs,
        )

    def load_data_list(self) -> np.ndarray:
        """The rows; beside them, where each line starts and ends in the file."""
        if not os.path.lexists(self.ann_file):
            raise FileNotFoundError(f"there is no list of images {self.ann_file}")
        if reason := refusal(self.ann_file, ANNOTATION_LIMIT):
            raise ValueError(f"the list {self.ann_file} cannot be read: {reason}")
        size = os.path.getsize(self.ann_file)
        self._text = np.memmap(self.ann_file, np.uint8, "r") if size else np.empty(0, np.uint8)
        stops = np.append(np.flatnonzero(self._text == ord("\n")), size)
        starts = np.append(0, stops[:-1] + 1)
        filled = stops > starts
        self._starts, self._stops = starts[filled], stops[filled]
        if not len(self._starts):
            raise ValueError(f"the list {self.ann_file} names no image")
        return np.arange(len(self._starts))

    def get_data_info(self, idx: int) -> dict:
        """The path of an image."""
        self.full_init()
        path = self._path(int(self.data_list[idx]))
        return dict(img_path=path, sample_idx=int(idx) % len(self.data_list))

    def _path(self, row: int) -> str:
        line = bytes(self._text[self._starts[row] : self._stops[row]])
        return os.path.join(self.data_root, os.fsdecode(line.rstrip(b"\r")))

    def prepare_data(self, idx: int) -> dict | None:
        """The image through the pipeline."""
        return self.pipeline(self.get_data_info(idx))
