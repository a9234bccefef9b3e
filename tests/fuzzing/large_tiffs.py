# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""TIFFs for the reader of windows."""

import io
from pathlib import Path

import numpy as np
import tifffile

from xmoco_plugin.data.tiff_file import TiffPicture


def tiffs(folder: Path) -> list[bytes]:
    """Small TIFFs in tiles and strips, with several channels, pages, and values that GDAL names."""
    noise = np.random.default_rng(0).integers(0, 255, (40, 48, 5), dtype=np.uint8)
    deep = (noise.astype(np.uint16) << 4)[..., :4]
    found = []
    for pixels, settings in (
        (noise, dict(tile=(16, 16), compression="zlib", photometric="minisblack")),
        (noise[..., :3], dict(rowsperstrip=8, compression="zlib", predictor=True)),
        (noise[..., :3], dict(photometric="rgb", bigtiff=True)),
        (deep.transpose(2, 0, 1), dict(tile=(16, 16), planarconfig="separate", byteorder=">")),
        (noise[..., 0], dict(extratags=[(42113, "s", 0, "7", True)], compression="packbits")),
    ):
        file = io.BytesIO()
        try:
            with tifffile.TiffWriter(file, **_writer(settings)) as writer:
                writer.write(pixels, **settings)
                writer.write(noise[..., 0])
        except KeyError:  # what imagecodecs alone compresses
            continue
        found.append(file.getvalue())
    return found


def _writer(settings: dict) -> dict:
    return {name: settings.pop(name) for name in ("bigtiff", "byteorder") if name in settings}


def read_tiff(file: Path) -> None:
    with TiffPicture(file) as tiff:
        look = tiff.look
        high, wide = min(look.height, 64), min(look.width, 64)
        tiff.read(look.height - high, look.width - wide, high, wide)
