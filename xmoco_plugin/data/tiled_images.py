# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os

import numpy as np
from mmpretrain.registry import DATASETS

from ..untrusted import FileRefusedError, read_regular
from ..untrusted.files import ANNOTATION_LIMIT
from .listed_images import ListedImages
from .tile_grid import read_tiles


@DATASETS.register_module()
class TiledImages(ListedImages):
    """Tiles of the pictures that a text file names, a sample each, without labels.

    Args:
        ann_file (str): The pictures, as of ``ListedImages``.
        tile_file (str): The tiles, a line each: number of the picture's line, from 0, top and left
            in pixels. Relative to ``data_root``.
        data_root (str): What relative paths start from. Defaults to ''.
        kwargs: Of mmpretrain's BaseDataset.

    Raises:
        FileNotFoundError: No such file.
        ValueError: One that names nothing, is no such list, is no regular file, or is above 4 GB.
    """

    def __init__(self, ann_file: str, tile_file: str, data_root: str = "", **kwargs) -> None:
        self.tile_file = os.path.join(os.path.expanduser(data_root), tile_file)
        super().__init__(ann_file=ann_file, data_root=data_root, **kwargs)

    def load_data_list(self) -> np.ndarray:
        """The rows, of tiles."""
        pictures = len(super().load_data_list())
        if not os.path.lexists(self.tile_file):
            raise FileNotFoundError(f"there is no list of tiles {self.tile_file}")
        try:
            self._tiles = read_tiles(read_regular(self.tile_file, ANNOTATION_LIMIT), pictures)
        except (FileRefusedError, ValueError) as error:
            raise ValueError(f"the list {self.tile_file} cannot be read: {error}") from None
        return np.arange(len(self._tiles))

    @property
    def pictures(self) -> np.ndarray:
        """(n,) the picture that each sample is of."""
        self.full_init()
        return self._tiles[self.data_list, 0]

    def get_data_info(self, idx: int) -> dict:
        """The path of a picture, and which tile of it."""
        self.full_init()
        picture, top, left = self._tiles[int(self.data_list[idx])].tolist()
        return dict(
            img_path=self._path(picture),
            tile=(top, left),
            sample_idx=int(idx) % len(self.data_list),
        )
