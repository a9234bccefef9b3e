# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

import numpy as np
from mmpretrain.registry import TRANSFORMS

from .channel_reading import ChannelReading
from .decode_image import UnreadableImageError
from .load_image import LoadImageOrSkip
from .picture_reader import CACHE, PictureReader, open_channels, read_tile
from .pictures import Picture


@TRANSFORMS.register_module()
class LoadChannelsOrSkip(LoadImageOrSkip):
    """Read a TIFF of any number of channels, or a tile of it, on one scale; skip what is bad.

    Required keys: ``img_path``, and ``tile``, its top and left in pixels, where it is one; with
    ``img_bytes`` the file is not looked for on disk.
    Added keys: ``img``, (H, W, C) float32 in [0, 255] in the file's order of channels,
    ``img_shape``, ``ori_shape``, and after a bad file ``skipped``.

    Args:
        channels (int): That each file must have; alpha does not count, unless it makes the number.
        value_range (Sequence[float]): What becomes 0 and 255; what lies beyond is cut.
        fill (Sequence[float]): In [0, 255], of each channel, where a pixel is transparent, nodata,
            NaN or infinite.
        side (int, optional): Of the tiles, in pixels. Defaults to None: whole pictures.
        kind (str, optional): Of the values, as numpy's; a file of another kind is unreadable.
            Defaults to None: of any, for files that were all looked at before.
        cache_bytes (int): As of ``LoadTileOrSkip``.
        picked (Sequence[int], optional): Channels that are handed on, counted from 1, in their
            order; one may stand more than once. Defaults to None: all of them.
        kwargs: ``on_error``, ``max_consecutive`` and ``max_pixels`` of ``LoadImageOrSkip``.
    """

    def __init__(
        self,
        channels: int,
        value_range: Sequence[float],
        fill: Sequence[float],
        side: int | None = None,
        kind: str | None = None,
        cache_bytes: int = CACHE,
        picked: Sequence[int] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(**kwargs)
        low, high = map(float, value_range)
        if not low < high:
            raise ValueError(f"value_range is {low:g} to {high:g}; it must rise")
        if len(fill) != channels:
            raise ValueError(f"fill has {len(fill)} values for {channels} channels")
        if picked is not None and not all(1 <= number <= channels for number in picked):
            raise ValueError(f"picked is {[*picked]}; of {channels} channels, 1 is the first")
        self.side, self.kind = side, kind
        self.places = None if picked is None else [number - 1 for number in picked]
        self.channels = ChannelReading(channels, (low, high), tuple(fill))
        self.reader = PictureReader(
            side or 1,
            max_pixels=self.rules["max_pixels"],
            cache_bytes=cache_bytes,
            channels=self.channels,
        )

    def _load(self, results: dict, path: str) -> tuple[np.ndarray, tuple[int, int]]:
        if "unreadable" in results:
            raise UnreadableImageError(results["unreadable"])
        if "img_bytes" in results:
            content = bytes(results.pop("img_bytes"))
            picture: Picture = open_channels(content, self.channels, self.reader)
        else:
            picture = self.reader.open(path)
        if self.kind and picture.mode.rpartition(" ")[2] != self.kind:
            raise UnreadableImageError(f"{picture.mode}, and values of {self.kind} are read")
        top, left, height, width = 0, 0, picture.height, picture.width
        if "tile" in results and self.side is not None:
            (top, left), height, width = results["tile"], self.side, self.side
        if height * width > self.rules["max_pixels"]:
            raise UnreadableImageError(
                f"{width}x{height} px is above the limit of {self.rules['max_pixels']} pixels "
                "(max_pixels)"
            )
        image = read_tile(picture, top, left, height, width)
        return image if self.places is None else image[..., self.places], image.shape[:2]
