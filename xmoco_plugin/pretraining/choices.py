# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Settings of a run, chosen from data and machine, with the reasons; docs/choose_settings.md."""

import numpy as np

from ..export.detectors import Inputs
from .backbones import AVERAGES, is_mocov3_vit
from .chosen import Choices, Facts
from .offered import Offered

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
SHARE = 0.8  # of the free memory
IMAGENET = Inputs((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "RGB")  # of the configs
MIN_IMAGES = 8  # two batches of 4: fewer are no run


class Chooser:
    """Takes what the user has set and chooses the rest, in the order of the methods.

    Args:
        facts: Of data and machine.
        given: Settings by name, of the user.
        pretrained: Whether the run begins with good weights, which a gentler recipe keeps.
        offered: What the file of these weights holds.
    """

    def __init__(
        self,
        facts: Facts,
        given: dict,
        pretrained: bool = False,
        offered: Offered | None = None,
    ) -> None:
        self.facts, self.given, self.pretrained = facts, given, pretrained
        model, why = (
            ("resnet50", "the backbone of MoCo's papers")
            if facts.on_gpu
            else ("resnet18", "no GPU here, and a quarter of ResNet-50's work")
        )
        if offered is not None and offered.model and not given.get("model"):
            model, why = offered.model, "the backbone of --init"
        self.choices = Choices(given.get("model") or model, 0)
        self.choices.why["model"] = "given" if given.get("model") else why
        seen = offered.inputs if offered is not None else None
        if seen is not None and not seen.is_like(IMAGENET):
            self.choices.inputs = seen
            self.choices.why["inputs"] = "as the network of --init gets its images"

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

    def number_format(self, usual: bool) -> None:
        """What a CPU computes the networks in.

        Args:
            usual: Whether the backbone is one of the ResNets that have a short name.
        """
        if usual and self.facts.bfloat16 and not self.facts.on_gpu and not self.pretrained:
            why = "this CPU multiplies in it, half as fast again (docs/lab/performance.md)"
            self._take("precision", "bfloat16", f"{why}; weights and losses stay float32")

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
        steps = self._steps
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

    @property
    def _steps(self) -> int:
        """Of the whole run, once batch and epochs are chosen."""
        batch = self.choices.batch_size * self.facts.processes
        return self.choices.epochs * max(self.facts.images // batch, 1)

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

    def averages(self, slow: float | None) -> None:
        """How fast BatchNorm's running averages follow; after :meth:`length`.

        Args:
            slow: The backbone's own share of a batch in them, where it is small.
        """
        steps = self._steps
        if slow is None or self.choices.norm_eval or steps >= LONG:
            return
        why = f"BatchNorm's averages: the network's own {slow:g} is over {1 / slow:.0f} steps, of "
        self._take("norm_momentum", AVERAGES, f"{why}{steps:,} (docs/lab/results.md)")

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


def _power_of_two(number: int) -> int:
    return 1 << (number.bit_length() - 1) if number > 0 else 0
