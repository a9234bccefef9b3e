# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""TIFFs as tifffile writes them."""

from pathlib import Path

import numpy as np
import tifffile


def noise(height: int, width: int, samples: int, kind: str = "uint8", seed: int = 0) -> np.ndarray:
    """(height, width, samples) of a kind, up to 250."""
    return np.random.default_rng(seed).integers(0, 250, (height, width, samples)).astype(kind)


def write(path: Path, pixels: np.ndarray, planar: bool = False, **settings) -> Path:
    """Writes (h, w, n); `planar` keeps its channels apart."""
    samples = pixels.shape[2]
    settings.setdefault("photometric", "rgb" if samples in (3, 4) else "minisblack")
    if samples > 1:
        settings["planarconfig"] = "separate" if planar else "contig"
    data = pixels[..., 0] if samples == 1 else pixels.transpose(2, 0, 1) if planar else pixels
    tifffile.imwrite(path, np.ascontiguousarray(data), **settings)
    return path
