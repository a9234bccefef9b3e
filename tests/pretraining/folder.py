# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Images drawn into a folder."""

from pathlib import Path

import numpy as np
from PIL import Image


def draw(folder: Path, count: int, side: int = 40, ending: str = ".png", seed: int = 0) -> Path:
    """Draws `count` images of noise, `side` px high and 8 px wider; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(count):
        colour = rng.integers(0, 150, 3) + rng.integers(0, 100, (side, side + 8, 3))
        Image.fromarray(colour.astype(np.uint8)).save(folder / f"{i:03d}{ending}")
    return folder
