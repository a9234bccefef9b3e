# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
from mmpretrain.registry import TRANSFORMS

from .load_image import LoadImageOrSkip
from .picture_reader import CACHE, PictureReader, read_tile


@TRANSFORMS.register_module()
class LoadTileOrSkip(LoadImageOrSkip):
    """Read a tile of a large picture; else as :class:`LoadImageOrSkip`, by the same rules.

    Of a TIFF that is stored in tiles or strips, only those that the tile touches are decoded, if
    tifffile is there. Every other picture is decoded whole and kept for its other tiles: let them
    come near each other (``PicturesTogether``).

    Required keys: ``img_path`` and ``tile``, its top and left in pixels; samples without ``tile``
    are read whole.

    Args:
        side (int): Of the tiles, in pixels.
        cache_bytes (int): Of pictures decoded whole that a process keeps. Defaults to 512 MB.
        kwargs: As of ``LoadImageOrSkip``. ``max_pixels`` and ``max_bytes`` are for pictures that
            are decoded whole: one that is read in windows may be of any size.
    """

    def __init__(self, side: int, cache_bytes: int = CACHE, **kwargs) -> None:
        super().__init__(**kwargs)
        if side < 1 or cache_bytes < 0:
            raise ValueError(
                f"side is {side} and cache_bytes {cache_bytes}; they must be at least 1 and 0"
            )
        self.side = side
        self.reader = PictureReader(
            side, max_bytes=self.max_bytes, cache_bytes=cache_bytes, **self.rules
        )

    def _load(self, results: dict, path: str) -> tuple[np.ndarray, tuple[int, int]]:
        if "tile" not in results:
            return super()._load(results, path)
        top, left = results["tile"]
        picture = self.reader.open(path)
        image = read_tile(picture, top, left, self.side, self.side)
        return image, image.shape[:2]
