# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A batch of training views that is the same whenever it is drawn, and disturbs nothing."""

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

POOL = 20_000  # images whose labels are looked at: every image of ImageNet would take half a minute


@contextmanager
def kept_randomness() -> Iterator[None]:
    """After the block Python, numpy and torch draw as if it had not been."""
    python, array = random.getstate(), np.random.get_state()
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(array)


@contextmanager
def fixed_randomness(seed: int) -> Iterator[None]:
    """Seed Python, numpy and torch inside the block; afterwards all go on as if it had not been."""
    with kept_randomness():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        yield


def choose_images(dataset: Dataset, count: int, classes: int = 8) -> tuple[list[int], list[int]]:
    """Images for a picture, sorted by class where there are classes.

    Args:
        dataset: with ``get_cat_ids`` or ``get_data_info`` where it has labels; with
            ``begins_with_sample`` where its first images are a sample of all, and others are far.
        count: how many at most.
        classes: from how many classes at most, evenly spaced among those that exist.

    Returns:
        Indices and their labels; no labels where one of the images has none.
    """
    if getattr(dataset, "begins_with_sample", False):
        return spread_images(dataset, count), []
    pool = _spread(range(len(dataset)), POOL)
    by_class: dict[int, list[int]] = defaultdict(list)
    for i in pool:
        label = label_of(dataset, i)
        if label is None:
            return spread_images(dataset, count), []
        by_class[label].append(i)
    chosen = _spread(sorted(by_class), min(classes, count))
    indices: list[int] = []
    labels: list[int] = []
    for i, label in enumerate(chosen):
        # The first classes have one more where the images do not divide evenly.
        images = _spread(by_class[label], (count - i - 1) // len(chosen) + 1)
        indices += images
        labels += [label] * len(images)
    return indices, labels


def spread_images(dataset: Dataset, count: int) -> list[int]:
    """As many images of all, evenly spaced; or the first, where those are a sample of all."""
    whole = range(len(dataset))
    if getattr(dataset, "begins_with_sample", False):
        return list(whole[:count])
    return _spread(whole, count)


def fixed_views(loader: DataLoader, model, indices: Sequence[int], seed: int) -> list | None:
    """Views of some training images, through the training pipeline and the model's preprocessor.

    Args:
        loader: of the training set; only its dataset and ``collate_fn`` are used.
        model: with mmengine's ``data_preprocessor``.
        indices: of the images.
        seed: of all random choices.

    Returns:
        Two tensors (N, C, H, W) on the model's device. A pipeline that gives one view, as for the
        student of a frozen teacher, is asked twice. None where it gives no views, but the image as
        it is.
    """
    views = fixed_inputs(loader, model, indices, seed)
    if not isinstance(views, list | tuple):
        return None
    if len(views) == 1:
        views = [*views, *fixed_inputs(loader, model, indices, seed + 1)]
        if torch.equal(views[0], views[1]):
            return None
    return list(views[:2])


def fixed_inputs(loader: DataLoader, model, indices: Sequence[int], seed: int) -> Any:
    """What the model is handed of some training images; the arguments are those of `fixed_views`.

    Returns:
        A list of tensors (N, C, H, W), one for each view, or one tensor of the only view.
    """
    with fixed_randomness(seed), torch.no_grad():
        batch = loader.collate_fn([loader.dataset[i] for i in indices])
        return model.data_preprocessor(batch, training=True)["inputs"]


def label_of(dataset: Dataset, index: int) -> int | None:
    """The image's class, or None where it has none or several."""
    if not hasattr(dataset, "get_data_info"):
        return None
    label = dataset.get_data_info(index).get("gt_label")
    return None if label is None or np.ndim(label) or int(label) < 0 else int(label)


def _spread(items: Sequence[int], count: int) -> list[int]:
    """``count`` of the items, evenly spaced, or all of them."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]
