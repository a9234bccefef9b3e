# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Small images inside the page."""

import base64
import io

import numpy as np
from markupsafe import Markup
from PIL import Image

SIDE = 96  # pixels at most: sharp at the width that a row of six leaves each on a phone
LOSSLESS = 64  # up to this side a PNG is small, and JPEG's blocks would show


def thumbnail(pixels: np.ndarray, alt: str) -> Markup:
    """An image as an <img> whose data are in the page.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        alt: what it shows.
    """
    image = Image.fromarray(np.ascontiguousarray(pixels))
    lossless = max(image.size) <= LOSSLESS
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    if lossless:
        image.save(buffer, "PNG", optimize=True)
    else:
        image.save(buffer, "JPEG", quality=82)
    kind = "png" if lossless else "jpeg"
    data = base64.b64encode(buffer.getvalue()).decode()
    return Markup('<img src="data:image/{};base64,{}" alt="{}" width="{}" height="{}">').format(
        kind, data, alt, *image.size
    )
