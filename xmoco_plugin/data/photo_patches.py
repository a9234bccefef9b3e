# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math
from importlib import resources

import numpy as np
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS

from .decode_image import decode_image

# Class name: file in scikit-image's wheel. Photographs only: no drawings, masks or charts, no
# second picture of a stereo pair, none that is nearly blank or smaller than the regions need.
PHOTOS = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "cell": "cell.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble": "hubble_deep_field.jpg",
    "ihc": "ihc.png",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "page": "page.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
    "text": "text.png",
}
PATCHES_PER_PHOTO = dict(train=240, test=60)
TRAIN_SHARE = 0.6


@DATASETS.register_module()
class PhotoPatches(BaseDataset):
    """Patches of 17 photographs in scikit-image's wheel; the class is the photograph.

    A small set of real images that needs no download, for demonstrations and tests. It is no
    benchmark: patches of a region overlap, and "which photograph is this from" is a question of
    texture and colour, not of objects. Training patches come from the left of each photograph,
    test patches from the right, with a gap one patch wide between them, so no pixel is in both
    and no test patch touches a training patch. Positions are a fixed grid; every class has the
    same number of patches (240 for training, 60 for testing: 4,080 and 1,020).

    Samples carry ``img`` ((patch_size, patch_size, 3) uint8 BGR), ``gt_label``, and where the patch
    lies: ``photo`` (class name), ``y``, ``x`` (pixels, top left). Only the photographs are kept in
    memory, 15 MB, which forked loader processes share. Reads as they stand: grey photographs have
    three equal channels.

    Args:
        split (str): 'train' or 'test'. Defaults to 'train'.
        patch_size (int): Side of a patch in pixels. Defaults to 48.
        gray (bool): Turn every photograph grey, so that colour tells nothing. Defaults to False.
        kwargs: Of mmpretrain's BaseDataset (``pipeline``, ``indices``, ...).

    Raises:
        ImportError: Without scikit-image, with the command that installs it.
        FileNotFoundError: An installed scikit-image that lacks one of the photographs.
        ValueError: For another split, or patches too large for the smallest photograph.
    """

    METAINFO = dict(classes=tuple(PHOTOS))

    def __init__(
        self, split: str = "train", patch_size: int = 48, gray: bool = False, **kwargs
    ) -> None:
        if split not in PATCHES_PER_PHOTO:
            raise ValueError(f"split is {split!r}; choose 'train' or 'test'")
        if patch_size < 1:
            raise ValueError(f"patch_size is {patch_size}; it must be at least 1")
        self.split = split
        self.patch_size = patch_size
        self.gray = gray
        self._photos: dict[str, np.ndarray] = {}
        super().__init__(ann_file="", **kwargs)

    def load_data_list(self) -> list[dict]:
        """Read the photographs; one entry a patch: ``photo``, ``y``, ``x``, ``gt_label``."""
        entries = []
        for label, (name, photo) in enumerate(_read_photos(self.gray).items()):
            self._photos[name] = photo
            height, width = photo.shape[:2]
            left, right = region_columns(width, self.patch_size)[self.split]
            try:
                corners = grid_corners(
                    height, right - left, self.patch_size, PATCHES_PER_PHOTO[self.split]
                )
            except ValueError as error:
                raise ValueError(f"{self.split} patches of {name!r}: {error}") from None
            entries += [dict(photo=name, y=y, x=left + x, gt_label=label) for y, x in corners]
        return entries

    def get_data_info(self, idx: int) -> dict:
        """The entry with ``img``, a copy that transforms may write to."""
        info = super().get_data_info(idx)
        y, x, side = info["y"], info["x"], self.patch_size
        info["img"] = self._photos[info["photo"]][y : y + side, x : x + side].copy()
        info["img_shape"] = info["ori_shape"] = (side, side)
        return info

    def extra_repr(self) -> list[str]:
        """Lines of ``repr``."""
        return [f"Split: \t{self.split}", f"Patch size: \t{self.patch_size}"]


def region_columns(width: int, patch_size: int) -> dict[str, tuple[int, int]]:
    """Columns [first, last) of the two regions of a photograph; ``patch_size`` lie between."""
    train = int(TRAIN_SHARE * (width - patch_size))
    return dict(train=(0, train), test=(train + patch_size, width))


def grid_corners(height: int, width: int, side: int, count: int) -> list[tuple[int, int]]:
    """Top left corners (y, x) of ``count`` different patches, evenly spread over a region.

    Of all grids of ``count`` patches the one whose steps are most alike in both directions.

    Raises:
        ValueError: If the region has no room for them.
    """
    rows_free, columns_free = height - side, width - side
    fitting = [
        (rows, count // rows)
        for rows in range(1, count + 1)
        if count % rows == 0 and rows <= rows_free + 1 and count // rows <= columns_free + 1
    ]
    if not fitting:
        raise ValueError(
            f"a region of {width}x{height} px has no room for {count} different patches of "
            f"{side}x{side} px; lower patch_size"
        )

    def unevenness(grid: tuple[int, int]) -> float:
        row_step = rows_free / max(grid[0] - 1, 1)
        column_step = columns_free / max(grid[1] - 1, 1)
        return abs(math.log((row_step + 1e-9) / (column_step + 1e-9)))

    rows, columns = min(fitting, key=unevenness)
    return [
        (int(y), int(x))
        for y in np.rint(np.linspace(0, rows_free, rows))
        for x in np.rint(np.linspace(0, columns_free, columns))
    ]


def _read_photos(gray: bool) -> dict[str, np.ndarray]:
    try:
        folder = resources.files("skimage") / "data"
    except ModuleNotFoundError as error:
        raise ImportError(
            "PhotoPatches cuts its patches from the photographs in scikit-image's wheel, which is "
            "not installed: pip install 'scikit-image>=0.25,<0.26'"
        ) from error
    photos = {}
    for name, file in PHOTOS.items():
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"this scikit-image has no {file}; the photographs are those of the version that "
                "pip install 'scikit-image>=0.25,<0.26' brings"
            )
        photo = decode_image((folder / file).read_bytes())
        if gray:  # the weights of ITU-R BT.601, in BGR
            luma = np.rint(photo @ np.array([0.114, 0.587, 0.299])).astype(np.uint8)
            photo = np.repeat(luma[:, :, None], 3, axis=2)
        photos[name] = photo
    return photos
