# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Pictures of any number of channels: their range, mean and deviation, measured in the scan."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..data import UnreadableImageError
from ..data.channel_reading import FULL, ChannelReading
from ..data.decode_image import streamed_digest
from ..data.picture_reader import PictureReader, open_picture
from ..data.pictures import ChannelPicture
from ..data.tiff_file import OtherKindError
from ..data.tile_grid import is_empty, tile_grid
from ..untrusted import printable
from ..untrusted.image_file import MAX_PIXELS
from .errors import PretrainError
from .tile_scan import STRIPE, file_facts, tiles_of
from .tiles import SMALLER

STEP, FROM = 4, 256  # of pictures and tiles from so many px on each fourth row and column (ours)
NUMBERS = ("sum", "squares")  # of the values of each channel
PICTURE = "pictures of 1 or 3 channels, or no TIFF"


class ChannelPlan(NamedTuple):
    """What training does with channels.

    Attributes:
        reading: How they are read; its ``fill`` is their mean.
        std: Their deviations, in the same units.
        kind: Of the values, as numpy's.
    """

    reading: ChannelReading
    std: list[float]
    kind: str


class Channels(NamedTuple):
    """Of a set, in the files' own units.

    Attributes:
        number: Of channels.
        kind: Of values, as numpy's.
        low, high: Of all values.
        mean, std: (number,) of each channel.
        sampled: Pixels that these were measured on.
    """

    number: int
    kind: str
    low: float
    high: float
    mean: np.ndarray
    std: np.ndarray
    sampled: int

    def value_range(self, bits: int | None = None) -> tuple[float, float]:
        """What becomes 0 and 255.

        Whole numbers from 0 on: up to the most that the bits of the largest value hold, so that 12
        bits in 16 are taken for 12. Floats: 0 to 1 or 0 to 255, where they fit. Else from the
        smallest to the largest.

        Args:
            bits: Instead of those of the largest value.
        """
        if self.kind.startswith(("uint", "int")) and self.low >= 0:
            return 0.0, float((1 << (bits or self.bits)) - 1)
        for top in (1.0, FULL):
            if self.low >= 0 and self.high <= top:
                return 0.0, top
        return self.low, max(self.high, self.low + 1e-6)

    @property
    def bits(self) -> int:
        """Significant ones of whole numbers, 8 at the least."""
        return max(int(self.high).bit_length(), 8)

    def plan(self, bits: int | None = None) -> ChannelPlan:
        """How they are read and normalized; a pixel without a value becomes the mean."""
        mean, std = self.normalization(bits)
        reading = ChannelReading(self.number, self.value_range(bits), tuple(mean))
        return ChannelPlan(reading, std, self.kind)

    def normalization(self, bits: int | None = None) -> tuple[list[float], list[float]]:
        """Mean and deviation of each channel as the network's side sees it, 0 to 255."""
        low, high = self.value_range(bits)
        scale = FULL / (high - low)
        mean = np.clip((self.mean - low) * scale, 0, FULL)
        std = np.where(self.std > 0, self.std * scale, 1.0)
        return [round(float(m), 4) for m in mean], [max(round(float(s), 4), 1e-4) for s in std]


def look_at_channels(
    path: str, channels: int, side: int | None = None, max_pixels: int = MAX_PIXELS
) -> dict[str, Any]:
    """Facts of one file that is read as so many channels.

    Beside those of any file: ``asked``, the channels; ``kind``; ``count`` of the pixels that were
    measured, ``sum`` and ``squares`` of their values, and ``low`` and ``high`` of all.

    Args:
        path: Of the file.
        channels: That it must have.
        side: Of the tiles that are trained on, in pixels; None for the whole.
        max_pixels: Of a picture that is read whole.
    """
    facts = file_facts(path, max_pixels) | {"asked": channels}
    if side is not None:
        facts["side"] = side
    facts.pop("reason", None) if "kind" in facts else None
    if "reason" in facts:
        return facts
    # What lies in the file, in its own units.
    reading = ChannelReading(channels, (0.0, 1.0), (0.0,) * channels)
    try:
        picture = open_picture(
            path, PictureReader(side or 1, max_pixels=max_pixels, channels=reading)
        )
    except OtherKindError as error:
        return {"kind": PICTURE, "channels": 0} | facts | {"reason": str(error)}
    except UnreadableImageError as error:
        return facts | {"reason": str(error)}
    assert isinstance(picture, ChannelPicture)
    try:
        facts |= {"kind": picture.kind, "channels": channels}
        return (
            facts
            | _measured(picture, channels, side, max_pixels)
            | {"digest": streamed_digest(path)}
        )
    except UnreadableImageError as error:
        return facts | {"reason": str(error)}
    finally:
        picture.close()


def _measured(
    picture: ChannelPicture, channels: int, side: int | None, max_pixels: int
) -> dict[str, Any]:
    height, width = picture.height, picture.width
    if side is not None and min(height, width) < side:
        raise UnreadableImageError(f"{width}x{height} {SMALLER} {side} px")
    if side is None and height * width > max_pixels:
        raise UnreadableImageError(
            f"{width}x{height} px is above the limit of {max_pixels} pixels (max_pixels)"
        )
    step = STEP if min(height, width, side or height) >= FROM else 1
    totals, count, empty = np.zeros((2, channels)), 0, []
    low, high = np.inf, -np.inf
    parts = (
        tiles_of(picture.stored, tile_grid(height, width, side), side)
        if side is not None
        else _bands(picture, channels)
    )
    for number, (stored, valid) in enumerate(parts):
        if is_empty(stored, valid):
            empty.append(number)
            if side is not None:
                continue
        seen = stored if valid is None else stored[valid]
        if seen.size:
            low, high = min(low, float(seen.min())), max(high, float(seen.max()))
        part = stored[::step, ::step]
        kept = part.reshape(-1, channels) if valid is None else part[valid[::step, ::step]]
        values = kept.astype(np.float64)
        totals += values.sum(axis=0), np.square(values).sum(axis=0)
        count += len(values)
    facts: dict[str, Any] = {
        "sides": [height, width],
        "mode": picture.kind,
        "count": count,
        **dict(zip(NUMBERS, totals.tolist(), strict=True)),
        **({"low": low, "high": high} if low <= high else {"low": 0.0, "high": 0.0}),
    }
    if side is not None:
        facts |= {"empty": empty, "held": picture.held}
    if low >= high:
        facts["constant"] = True
    return facts


def _bands(picture: ChannelPicture, channels: int) -> Iterator[tuple]:
    rows = max(STRIPE // (picture.width * channels * 8), 1)
    for top in range(0, picture.height, rows):
        yield picture.stored(top, 0, min(rows, picture.height - top), picture.width)


def are_channel_facts(line: Mapping[str, Any]) -> bool:
    """Whether a line that anybody may have written holds such facts."""
    asked = line.get("asked")
    if type(asked) is not int or asked < 1 or line.get("channels") != asked:
        return False
    numbers = [line.get("count"), line.get("low"), line.get("high")]
    for name in NUMBERS:
        values = line.get(name)
        if not isinstance(values, list) or len(values) != asked:
            return False
        numbers += values
    finite = all(isinstance(n, (int, float)) and math.isfinite(n) for n in numbers)
    return finite and line["count"] >= 0


def gather_channels(lines: Sequence[Mapping[str, Any]]) -> Channels:
    """What the facts of all pictures say of their channels."""
    count = max(sum(line["count"] for line in lines), 1)
    total, squares = (np.sum([line[name] for line in lines], axis=0) for name in NUMBERS)
    mean = total / count
    first = lines[0]
    seen = [line for line in lines if line["count"]] or lines
    return Channels(
        int(first["asked"]),
        str(first["kind"]).rpartition(" ")[2],
        min(line["low"] for line in seen),
        max(line["high"] for line in seen),
        mean,
        np.sqrt(np.maximum(squares / count - mean**2, 0)),
        int(sum(line["count"] for line in lines)),
    )


def few_of_channels(found: Any) -> str:
    """That TIFFs of many channels are left out, being fewer than the pictures; else empty.

    Args:
        found: The scan as of pictures, whose ``bad`` has each of them with the way to read it.
    """
    if not 0 < len(found.kinds) < len(found.good):
        return ""
    kinds = Counter(kind for _, kind, _ in found.kinds)
    said = ", ".join(f"{count:,} of {kind}" for kind, count in kinds.most_common())
    return (
        f"{len(found.kinds):,} TIFF{'s' * (len(found.kinds) > 1)} of many channels ({said}; "
        f"{printable(found.kinds[0][0])} the first) left out beside {len(found.good):,} pictures: "
        "--channels, and a folder or list of those alone, trains on them"
    )


def one_kind(found: Any, asked: int | None) -> int | None:
    """The channels that all files have; None where they are pictures.

    Args:
        found: The scan.
        asked: By the user.

    Raises:
        PretrainError: They differ, or are others than those that are asked for; counts them.
    """
    kinds = Counter(kind for _, kind, _ in found.kinds)
    first = {kind: path for path, kind, _ in reversed(found.kinds)}
    known = {path for path, _, _ in found.kinds}
    if kinds and (others := [path for path in found.good if path not in known]):
        kinds[PICTURE], first[PICTURE] = len(others), others[0]
    said = ", ".join(
        f"{count:,} of {kind} ({printable(first[kind])} the first)"
        for kind, count in kinds.most_common()
    )
    if len(kinds) > 1:
        raise PretrainError(
            f"the channels differ between the files: {said}. Name those of one kind in --data, "
            "by a folder or a list."
        )
    if asked is not None and kinds and found.kinds[0][2] != asked:
        raise PretrainError(f"--channels {asked}: the files are others: {said}.")
    return found.kinds[0][2] if kinds else None


def describe_channels(channels: Channels, given: int | None) -> Iterator[str]:
    """What there is, and what the network will see, in lines."""
    low, high = channels.value_range(given)
    why = "given" if given else "the largest value decides"
    if channels.kind.startswith("uint") and channels.low >= 0:
        bits = int(high).bit_length()
        read = f"read as {bits} bits ({why}), {low:g} to {high:g} as 0 to 255 without rounding"
    else:
        read = f"{low:g} to {high:g} read as 0 to 255 without rounding"
    yield (
        f"channels: {channels.number} of {channels.kind}, values {channels.low:g} to "
        f"{channels.high:g}: {read}"
    )
    mean, std = channels.normalization(given)
    pairs = ", ".join(f"{m:.1f} ± {s:.1f}" for m, s in zip(mean, std, strict=True))
    yield f"mean and deviation of each, from {channels.sampled:,} pixels: {pairs}"
    yield (
        "views without hue, saturation and grey, which are of red, green and blue; brightness is "
        "one factor for all channels, contrast about the mean of each"
    )
    if flat := [str(n + 1) for n, s in enumerate(channels.std) if not s > 0]:
        yield f"channels of one value, with nothing to see: {', '.join(flat)}"
