# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Does every random transform change its image as often as it says? Some have done nothing."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import RandomApply, RandomChoice
from mmengine.dataset import Compose

Transform = Callable[[dict], dict | None]


class WatchedTransform:
    """Stands for a transform in its pipeline, calls it, and counts how often its image changed.

    Args:
        transform: to be watched.
        name: with those it is inside of, as 'RandomApply > ColorJitter'.
        reached: probability with which those call it.

    Attributes:
        stated: probability that one run of the whole pipeline has its image changed here.
        changes: how often it did.
        image: (H, W, C) what it made of the last image; None if it was not called since
            ``forget``.
        changed: whether that was another image than it got.
    """

    def __init__(self, transform: Transform, name: str, reached: float) -> None:
        self.transform, self.name = transform, name
        self.stated = reached * stated_probability(transform)
        self.changes = 0
        self.forget()

    def forget(self) -> None:
        """Before another run of the pipeline."""
        self.image: np.ndarray | None = None
        self.changed = False

    def __call__(self, results: dict) -> dict | None:
        before = results["img"].copy()  # transforms may write in place
        after = self.transform(results)
        if after is not None:
            self.image = after["img"]
            self.changed = not np.array_equal(before, after["img"])
            self.changes += self.changed
        return after

    def keeps_its_word(self, runs: int, idle: float = 0.02, z: float = 4.0) -> bool:
        """Whether the changes counted in so many runs can come from the stated probability.

        Args:
            runs: of the whole pipeline.
            idle: share of its calls in which a transform may happen to leave an image as it is (a
                crop of everything, a jitter that rounds to nothing).
            z: width of Wilson's interval for a binomial share, in standard deviations; 4 errs
                once in 16,000.

        Returns:
            False where the interval misses [stated * (1 - idle), stated].
        """
        low, high = wilson_interval(self.changes, runs, z)
        return low <= self.stated and high >= self.stated * (1 - idle)


def stated_probability(transform: Any) -> float:
    """What a transform of the host or of torchvision says of itself; 1 where it says nothing."""
    for name in ("prob", "erase_prob", "p"):
        value = getattr(transform, name, None)
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, list | tuple) and value:
            return float(sum(value))  # a flip's directions, each with its own
    return 1.0


def wilson_interval(hits: int, runs: int, z: float) -> tuple[float, float]:
    """Wilson's interval (1927) for the probability behind ``hits`` in ``runs``."""
    share, square = hits / runs, z * z / runs
    centre = share + square / 2
    half = z * math.sqrt(share * (1 - share) / runs + square / (4 * runs))
    return (centre - half) / (1 + square), (centre + half) / (1 + square)


def view_pipelines(pipeline: Sequence[dict]) -> list[list[dict]]:
    """The pipeline of each kind of view in a training pipeline, each once; [] without MultiView."""
    return [list(view) for step in pipeline if is_multi_view(step) for view in step["transforms"]]


def is_multi_view(step: dict) -> bool:
    """Whether a config makes several views of an image."""
    return str(step.get("type")).split(".")[-1] == "MultiView"


def watch_transforms(view: Sequence[dict]) -> tuple[Compose, list[WatchedTransform]]:
    """A view's pipeline, built, with every transform in it watched, those inside others too."""
    pipeline, found = Compose(list(view)), []

    def watch(steps: list, inside: str, reached: float) -> None:
        for i, step in enumerate(steps):
            name = inside + getattr(step, "name", type(step).__name__)
            if isinstance(step, RandomApply):
                watch(step.transforms.transforms, f"{name} > ", reached * step.prob)
            elif isinstance(step, RandomChoice):
                shares = step.prob or [1 / len(step.transforms)] * len(step.transforms)
                for branch, share in zip(step.transforms, shares, strict=True):
                    watch(branch.transforms, f"{name} > ", reached * share)
            else:
                steps[i] = WatchedTransform(step, name, reached)
                found.append(steps[i])

    watch(pipeline.transforms, "", 1.0)
    return pipeline, found


def count_changes(
    view: Sequence[dict], images: Sequence[np.ndarray], runs: int
) -> list[WatchedTransform]:
    """Run a view's pipeline many times and count each transform's changes.

    Draws from the global random states; seed them around it.

    Args:
        view: configs of transforms, as in ``MultiView(transforms=[view])``.
        images: (H, W, 3) uint8, taken in turn. On an image that is grey, flat or symmetric some
            transforms have nothing to change.
        runs: how many times.
    """
    pipeline, steps = watch_transforms(view)
    for run in range(runs):
        image = images[run % len(images)].copy()
        pipeline(dict(img=image, img_shape=image.shape[:2], ori_shape=image.shape[:2]))
    return steps
