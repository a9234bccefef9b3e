# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from pathlib import Path
from typing import Any

from .image_list import TILES
from .tiles import TileReading


def set_tiles(loader: Any, tiles: TileReading, folder: Path) -> None:
    """Lets a loader of listed images give tiles of them."""
    loader.dataset |= dict(type="TiledImages", tile_file=str(folder / TILES))
    reader = dict(type="LoadTileOrSkip", side=tiles.side, cache_bytes=tiles.cache)
    pack = loader.dataset.pipeline[-1]
    pack.meta_keys = (*pack.meta_keys, "tile")
    loader.dataset.pipeline = [reader, *loader.dataset.pipeline[1:]]
    if tiles.window is not None:
        loader.sampler |= dict(type="PicturesTogether", window=tiles.window)
