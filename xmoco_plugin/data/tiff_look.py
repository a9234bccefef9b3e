# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the first page of a TIFF holds, by what its header says."""

from typing import Any, NamedTuple

import numpy as np

from .decode_image import UnreadableImageError

NODATA, ORIENTATION, EXTRA_SAMPLES, REDUCED = 42113, 274, 338, 1
ALPHAS = (1, 2)  # associated and straight
GREY, RGB, YCBCR = 1, 2, 6  # photometric interpretations


class TiffLook(NamedTuple):
    """What the first page of a TIFF holds.

    Attributes:
        height, width: In pixels, as they are stored.
        samples: Values of a pixel, alpha included.
        alpha: Which of Pillow's kinds the last sample is: 'A', 'a' (associated), or none.
        kind: Of the values, as numpy's.
        photometric: Its interpretation.
        upright: Whether it is shown as it is stored.
        nodata: The value that GDAL's tag names for pixels without any.
        further: What else the file holds: 'smaller copies', 'pages', or nothing.
    """

    height: int
    width: int
    samples: int
    alpha: str
    kind: str
    photometric: int
    upright: bool
    nodata: float | None
    further: str

    @property
    def channels(self) -> int:
        """Without alpha."""
        return self.samples - bool(self.alpha)

    @property
    def named(self) -> str:
        """Such as '4 channels of uint16'."""
        count = self.channels
        return f"{count} channel{'s' * (count != 1)} of {self.kind}"

    @property
    def is_picture(self) -> bool:
        """Whether its channels are those of a picture, grey or in colour."""
        return self.photometric not in (GREY, RGB) or self.channels == (
            1 if self.photometric == GREY else 3
        )


def look_of(tiff: Any) -> TiffLook:
    page = tiff.pages[0]
    if page.dtype is None:
        bits = page.bitspersample
        raise UnreadableImageError(f"a TIFF of {bits}-bit values of format {page.sampleformat}")
    samples = page.samplesperpixel
    extra = page.tags.valueof(EXTRA_SAMPLES, ())
    extra = extra if isinstance(extra, tuple) else (extra,)
    # As Pillow: a fourth value that nothing is said of is alpha.
    alpha = extra[-1] if extra else 2 * (page.photometric == RGB and samples == 4)
    return TiffLook(
        *(int(page.imagelength), int(page.imagewidth), int(samples)),
        {1: "a", 2: "A"}.get(int(alpha), ""),
        str(np.dtype(page.dtype)) if page.bitspersample % 8 == 0 else f"{page.bitspersample}-bit",
        int(page.photometric),
        page.tags.valueof(ORIENTATION, 1) == 1,
        _nodata(page.tags.valueof(NODATA)),
        _further(tiff),
    )


def _nodata(text: Any) -> float | None:
    try:
        return float(str(text).strip(" \0"))
    except ValueError:
        return None


def _further(tiff: Any) -> str:
    try:
        second = tiff.pages[1]
    except IndexError:
        return "smaller copies" if tiff.pages[0].subifds else ""
    return "smaller copies" if int(second.tags.valueof(254, 0)) & REDUCED else "pages"
