# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How pictures of any number of channels are read: one scale, and what missing pixels are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

PREPROCESSOR = "ChannelsDataPreprocessor"  # of views: its settings say how its pictures are read
READERS = ("LoadImageOrSkip", "LoadTileOrSkip")
OURS = "LoadChannelsOrSkip"
KEPT = ("on_error", "max_pixels", "side", "cache_bytes")  # of a reader's settings
FULL = 255.0  # what the top of the range becomes: mean and deviation are in such units


class ChannelReading(NamedTuple):
    """Of all pictures of a run.

    Attributes:
        channels: In the file's order.
        value_range: What becomes 0 and 255; what lies beyond is cut.
        fill: (channels,) in [0, 255], of pixels without a value.
    """

    channels: int
    value_range: tuple[float, float]
    fill: tuple[float, ...]

    def scaled(self, stored: np.ndarray, valid: np.ndarray | None = None) -> np.ndarray:
        """(h, w, channels) float32 in [0, 255].

        Args:
            stored: (h, w, channels) of any kind.
            valid: (h, w) bool; None where all pixels have a value.
        """
        low, high = self.value_range
        found = stored.astype(np.float32)
        found -= np.float32(low)
        found *= np.float32(FULL / (high - low))
        if valid is not None:
            found[~valid] = self.fill
        return np.clip(found, 0, FULL, out=found)


def channel_reading(cfg: Mapping[str, Any]) -> ChannelReading | None:
    """How a config's pictures are read, by its data preprocessor; None where as pictures usually.

    Args:
        cfg: Of a run, a checkpoint or an export; anybody may have written it.

    Raises:
        ValueError: It names such a preprocessor without what it needs.
    """
    model = cfg.get("model")
    within = model.get("data_preprocessor") if isinstance(model, Mapping) else None
    settings = within or cfg.get("data_preprocessor")
    if not isinstance(settings, Mapping):
        return None
    if str(settings.get("type")).split(".")[-1] != PREPROCESSOR:
        return None
    mean: Any = settings.get("mean")
    values: Any = settings.get("value_range")
    if not _are_numbers(mean) or not _are_numbers(values) or len(values) != 2:
        raise ValueError(f"the config's {PREPROCESSOR} lacks mean or value_range, both numbers")
    low, high = map(float, values)
    if not low < high:
        raise ValueError(f"the config's value_range is {low:g} to {high:g}; it must rise")
    return ChannelReading(len(mean), (low, high), tuple(map(float, mean)))


def read_channels(settings: Any, reading: ChannelReading | None) -> None:
    """Lets whatever reads pictures in settings, at any depth, read channels.

    Crops of the middle are made by a transform that takes any number of them.

    Args:
        settings: Of loaders, datasets or a pipeline; changed in place.
        reading: How; None changes nothing.

    Raises:
        ValueError: A pipeline that crops otherwise.
    """
    if reading is None:
        return
    for steps in _pipelines(settings):
        for step in steps:
            if _name(step) in READERS:
                kept = {k: step[k] for k in KEPT if k in step}
                step.clear()
                step.update(type=OURS, **reading._asdict(), **kept)
        names = list(map(_name, steps))
        if names[:3] == [OURS, "ResizeEdge", "CenterCrop"]:
            steps[1:3] = [dict(type="ChannelCrop", size=steps[2]["crop_size"])]
        elif "RandomResizedCrop" in names:
            raise ValueError(
                f"--augment crops pictures of 3 channels, and these have {reading.channels}: leave "
                "it out"
            )


def _pipelines(settings: Any) -> Iterator[list]:
    """Lists of transforms of which one reads pictures, at any depth."""
    waiting = [settings]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += part.values()
        elif isinstance(part, (list, tuple)):
            # A reader's settings may stand in several lists, and be changed by now.
            if isinstance(part, list) and {*READERS, OURS} & set(map(_name, part)):
                yield part
            else:
                waiting += part


def _name(step: Any) -> str:
    return str(step.get("type")).split(".")[-1] if isinstance(step, dict) else ""


def _are_numbers(values: Any) -> bool:
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str)
        and len(values) > 0
        and all(type(value) in (int, float) and np.isfinite(value) for value in values)
    )
