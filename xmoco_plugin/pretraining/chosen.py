# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a choice rests on, and the settings that are chosen."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from ..export.detectors import Inputs

PART = 32  # images that are normalised together: MoCo's batch on one GPU


class Facts(NamedTuple):
    """What is known before anything is chosen.

    Attributes:
        images: That can be read.
        short_sides: (n,) pixels.
        on_gpu: Whether there is an accelerator.
        cpus: That this process may use.
        processes: That train together, a batch each.
        bfloat16: Whether the CPU has instructions to multiply in it.
    """

    images: int
    short_sides: np.ndarray
    on_gpu: bool
    cpus: int
    processes: int = 1
    bfloat16: bool = False


@dataclass
class Choices:
    """Settings of a run, and in ``why`` the reason for each."""

    model: str
    image_size: int
    crop_scale: tuple[float, float] = (0.2, 1.0)
    key_view: str = "strong"
    temperature: float = 0.2
    batch_size: int = 0
    queue_len: int = 0
    epochs: int = 0
    momentum: float = 0.0
    optimizer: str = "SGD"
    lr: float = 0.0
    warmup: float = 0.0
    workers: int = 0
    channels_last: bool = False
    norm_eval: bool = False
    norm_momentum: float = 0.0
    precision: str = "float32"
    in_channels: int = 3
    inputs: Inputs | None = None  # None for the config's, IMAGENET

    def __post_init__(self) -> None:
        self.why: dict[str, str] = {}

    @property
    def splits(self) -> int:
        """Parts of a batch that are normalised apart; 1 for a batch with no such divisor."""
        if self.norm_eval:  # by no statistics of a batch
            return 1
        most = max(self.batch_size // PART, 2)
        fitting = [n for n in range(2, most + 1) if self.batch_size % n == 0]
        return fitting[-1] if fitting and self.batch_size >= 4 else 1

    @property
    def given(self) -> list[str]:
        """Names of the settings that the user has given."""
        return [name for name, why in self.why.items() if why.startswith("given")]

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(setting, value, why) of each."""
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in self.why:
                yield (
                    field.name,
                    f"{value:g}" if isinstance(value, float) else str(value),
                    (self.why[field.name]),
                )
