# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
from mmpretrain.datasets import BaseDataset


class RowDataset(BaseDataset):
    """Holds row numbers; what an image is stands in a file that all processes share.

    Subclasses say how many rows there are (``load_data_list`` returns ``np.arange(n)``) and what a
    row is (``get_data_info``).
    """

    def full_init(self) -> None:
        """Load, and keep a choice of images (``indices``) as an array too."""
        super().full_init()
        self.data_list: np.ndarray = np.asarray(self.data_list, dtype=np.int64)
