# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Settings of a run, chosen from data and machine, with the reasons; docs/choose_settings.md."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from .backbones import is_mocov3_vit

LONG = 20_000  # steps from which a run is taken as long: MoCo v2's own settings (ours)
LONG_RATE = 0.03  # SGD's for a batch of 256: MoCo v2's
# AdamW's for a batch of 32, and no more for larger ones (ours): 300 steps of SGD at 0.03 trained a
# network's stem and little else (docs/lab/results.md).
SHORT_RATE = 1e-3
# From good weights: AdamW's for a batch of 64, warmed up over a tenth of the run. It lost 2 points
# of kNN where SHORT_RATE lost 12 (docs/lab/starts.md).
GENTLE_RATE, GENTLE_BATCH, GENTLE_WARMUP = 3e-4, 64, 0.1
# Of InfoNCE, from random weights: with 0.1 and a weak key one seed of a small net at 16 px was the
# best MoCo (docs/lab/study.md).
TEMPERATURE, GENTLE_TEMPERATURE = 0.1, 0.2
VIT_RATE = 2.4e-3 / 16  # for a batch of 256: MoCo v3's for 4096
PRESENTATIONS = {"gpu": 20_000_000, "cpu": 30_000}  # of an image, over the run (ours)
# From good weights: 50 to 50,000 steps brought gains in arXiv 2103.12718; these are some 120 and
# 8,000, at the batches that are chosen (ours).
GENTLE_PRESENTATIONS = {"gpu": 2_000_000, "cpu": 8_000}
MAX_EPOCHS = 800  # MoCo v2's longest
MAX_QUEUE = 65_536  # MoCo's
PART = 32  # images that are normalised together: MoCo's batch on one GPU
SHARE = 0.8  # of the free memory
MIN_IMAGES = 8  # two batches of 4: fewer are no run
FEW = 500
SMALL = 50_000  # images, below which good weights are recommended to begin with (ours)


class Facts(NamedTuple):
    """What is known before anything is chosen.

    Attributes:
        images: That can be read.
        short_sides: (n,) pixels.
        on_gpu: Whether there is an accelerator.
        cpus: That this process may use.
        processes: That train together, a batch each.
    """

    images: int
    short_sides: np.ndarray
    on_gpu: bool
    cpus: int
    processes: int = 1


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
    in_channels: int = 3

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


class Chooser:
    """Takes what the user has set and chooses the rest, in the order of the methods.

    Args:
        facts: Of data and machine.
        given: Settings by name, of the user.
        pretrained: Whether the run begins with good weights, which a gentler recipe keeps.
    """

    def __init__(self, facts: Facts, given: dict, pretrained: bool = False) -> None:
        self.facts, self.given, self.pretrained = facts, given, pretrained
        model, why = (
            ("resnet50", "the backbone of MoCo's papers")
            if facts.on_gpu
            else ("resnet18", "no GPU here, and a quarter of ResNet-50's work")
        )
        self.choices = Choices(given.get("model") or model, 0)
        self.choices.why["model"] = "given" if given.get("model") else why

    @property
    def is_vit(self) -> bool:
        """Whether it is MoCo v3's: AdamW, no queue, a key encoder of its own schedule."""
        return is_mocov3_vit(self.choices.model)

    @property
    def is_gentle(self) -> bool:
        """Whether good weights are continued by the gentler recipe; a ViT's is gentle already."""
        return self.pretrained and not self.is_vit

    def _take(self, name: str, value, why: str):
        chosen = self.given.get(name)
        setattr(self.choices, name, value if chosen is None else chosen)
        self.choices.why[name] = why if chosen is None else f"given (by itself: {value})"

    def views(self) -> None:
        """Size and crops of the views."""
        cap = 224 if self.facts.on_gpu else 96
        quarter = int(np.percentile(self.facts.short_sides, 25))
        size = min(max(quarter // 32 * 32, 64), cap)
        why = f"ImageNet's {cap}" if self.facts.on_gpu else "no GPU here: 96, a fifth of 224's work"
        if size < cap:
            why = f"a quarter of the images have a shorter side of at most {quarter} px"
        self._take("image_size", size, why)
        scale, why = ((0.08, 1.0), "MoCo v3's ViT") if self.is_vit else ((0.2, 1.0), "MoCo v2")
        self._take("crop_scale", scale, f"{why}: shares of an image's area that views are cut from")
        if not self.is_vit:
            self._key_and_temperature()

    def _key_and_temperature(self) -> None:
        source = "one seed of a small net at 16 px (docs/lab/study.md)"
        why = "good weights: what was tried (docs/lab/starts.md)" if self.is_gentle else source
        self._take("key_view", "weak", f"the key's view is crop and flip only: {why}")
        value, why = TEMPERATURE, f"of InfoNCE and the terms: {source}"
        if self.is_gentle:
            value, why = GENTLE_TEMPERATURE, "good weights: MoCo v2's (docs/lab/starts.md)"
        self._take("temperature", value, why)

    def layout(self, grouped: bool) -> None:
        """Order of a map's numbers in memory.

        Args:
            grouped: Whether the backbone has convolutions of groups of channels.
        """
        if grouped and not self.facts.on_gpu and not self.is_vit:
            why = "no GPU here: convolutions of single channels or of groups are faster so"
            self._take("channels_last", True, f"{why} (docs/lab/performance.md)")

    def norms(self, fixable: bool) -> None:
        """What BatchNorm normalises by.

        Args:
            fixable: Whether the backbone can keep the statistics that it came with.
        """
        if fixable and self.is_gentle:
            why = "good weights: BatchNorm keeps the statistics that they came with"
            self._take("norm_eval", True, f"{why} (docs/lab/starts.md)")

    def batch(self, fits: int, kept: str) -> None:
        """Batch size.

        Args:
            fits: Images that the memory holds, measured.
            kept: That measurement in words.
        """
        usual = 256 if self.facts.on_gpu else GENTLE_BATCH if self.is_gentle else 32
        quarter = _power_of_two(self.facts.images // (4 * self.facts.processes))
        size = max(min(usual, quarter, _power_of_two(max(fits, 1))), 2)
        why = "MoCo's" if self.facts.on_gpu else "no GPU here: more steps of smaller batches (ours)"
        if self.is_gentle and not self.facts.on_gpu:
            why = "good weights: what the gentle rate was measured with"
        if size == quarter < usual:
            why = f"at least 4 steps an epoch with {self.facts.images:,} images"
        if fits < min(usual, quarter):
            why = f"what the memory holds: {kept}"
        self._take("batch_size", size, why)

    def length(self) -> None:
        """Epochs, and what depends on how long the run is."""
        kind = "gpu" if self.facts.on_gpu else "cpu"
        images = self.facts.images
        shown = (GENTLE_PRESENTATIONS if self.pretrained else PRESENTATIONS)[kind]
        epochs = min(max(round(shown / images), 1), MAX_EPOCHS)
        why = f"{shown:,} images shown in all (ours: a GPU-day, or half an hour of one CPU core)"
        if self.pretrained:
            why = f"good weights need fewer: {shown:,} images shown in all (ours)"
        if epochs == MAX_EPOCHS:
            why = "MoCo v2's longest schedule"
        self._take("epochs", epochs, why)
        chosen = self.choices
        batch = chosen.batch_size * self.facts.processes
        if self.is_vit:
            self._take("optimizer", "AdamW", "MoCo v3's")
            rate = VIT_RATE * batch / 256
            self._take("lr", round(rate, 8), "MoCo v3's 0.0024 for a batch of 4096, scaled")
            return
        steps = chosen.epochs * max(images // batch, 1)
        if self.is_gentle:
            self._gentle_rate(batch, steps)
            return
        long = steps >= LONG
        self._take(
            "momentum",
            0.001 if long else 0.01,
            f"update rate of the key encoder; {steps:,} steps: "
            + (
                "MoCo's (m = 0.999)" if long else "a short run, as FAIR's CIFAR notebook (m = 0.99)"
            ),
        )
        if long:
            self._take("optimizer", "SGD", "MoCo's")
            why = f"MoCo v2's {LONG_RATE} for a batch of 256, scaled linearly"
            self._take("lr", round(LONG_RATE * batch / 256, 6), why)
        else:
            why = (
                "a short run: SGD at MoCo v2's rate trains little but the stem "
                "(docs/lab/results.md)"
            )
            self._take("optimizer", "AdamW", why)
            why = f"{SHORT_RATE:g} for a batch of 32 or more, less for less (ours)"
            self._take("lr", round(min(batch / 32, 1) * SHORT_RATE, 6), why)

    def _gentle_rate(self, batch: int, steps: int) -> None:
        why = f"update rate of the key encoder; {steps:,} steps: a short run"
        self._take("momentum", 0.001 if steps >= LONG else 0.01, why)
        self._take("optimizer", "AdamW", "good weights: what was measured (docs/lab/starts.md)")
        rate = round(min(batch / GENTLE_BATCH, 1) * GENTLE_RATE, 7)
        why = f"good weights: {GENTLE_RATE:g} for a batch of {GENTLE_BATCH} or more, less for less"
        self._take("lr", rate, why)
        # A rise needs two iterations: the host stays at its first rate where it has one.
        share = round(max(GENTLE_WARMUP, 3 / steps), 4) if steps >= 6 else 0.0
        self._take("warmup", share, "share of the run: the neck begins at random")

    def queue(self) -> None:
        """Length of the queue, where there is one."""
        if self.is_vit:
            return
        quarter = max(_power_of_two(self.facts.images // 4), 2)
        length = min(quarter, MAX_QUEUE)
        why = "MoCo's" if length == MAX_QUEUE else "at most a quarter of the set"
        self._take("queue_len", length, f"{why}: few older keys of the batch's images are in it")

    def workers(self) -> None:
        """Processes that load images."""
        workers = min(max(self.facts.cpus // self.facts.processes - (not self.facts.on_gpu), 1), 16)
        self._take("workers", workers, f"{self.facts.cpus} CPUs")


def better_start(images: int) -> str | None:
    """What good weights would give, for a run that has none; None where the images are many."""
    if images >= SMALL:
        return None
    return (
        f"no --init: the network begins with random weights, and {images:,} images teach it little "
        "of what good weights know. On small photographs of 10 kinds ImageNet's weights had a kNN "
        "of 65 % before any training, random ones 28 % (docs/lab/starts.md). --init FILE begins "
        "with such weights, and where there are --labels to tell, never hands over worse ones."
    )


def outlook(images: int) -> str | None:
    """What so few images can give, in a sentence; None where they are many."""
    if images >= FEW:
        return None
    return (
        f"{images:,} images are few: the network learns their colours and textures, hardly shapes. "
        "Expect at most a slightly better start than random weights, and compare with ImageNet "
        "weights (docs/lab/results.md has measurements). Unlabelled images of the same kind, even "
        "thousands of poor ones, help more than any setting."
    )


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1) if number > 0 else 0
