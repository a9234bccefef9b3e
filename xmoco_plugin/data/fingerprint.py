# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""An image in a few bytes: what is equal pixel by pixel, and what looks nearly the same."""

import hashlib
from typing import NamedTuple

import cv2
import numpy as np

SIDE, KEPT = 32, 8  # px of the grey copy; rows and columns of its cosine transform (pHash)
BITS = KEPT * KEPT
PLAIN = 2.0  # deviation of the grey copy, of 255, below which there is nothing to compare (ours)


class Fingerprint(NamedTuple):
    """Of an image.

    Attributes:
        digest: Of its pixels, 16 bytes.
        bits: 8 bytes; images that look alike differ in few bits. Empty for one of nearly one
            colour, whose bits would be noise.
    """

    digest: bytes
    bits: bytes


def fingerprint(pixels: np.ndarray) -> Fingerprint:
    """Pixels to a digest and to the perceptual hash that is known as pHash.

    The hash: a grey copy of 32 x 32 px, its cosine transform, of which the lowest 8 x 8 frequencies
    are compared with their median. It bears other sizes, JPEG's losses, light and contrast; not
    mirroring, turning, or crops of more than a few percent.

    Args:
        pixels: (H, W, 3), uint8, BGR, as :func:`~xmoco_plugin.data.decode_image` gives them.
    """
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.float32)
    small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    if small.std() < PLAIN:
        return Fingerprint(digest.digest(), b"")
    low: np.ndarray = np.asarray(cv2.dct(small))[:KEPT, :KEPT].ravel()
    return Fingerprint(digest.digest(), np.packbits(low > np.median(low)).tobytes())
