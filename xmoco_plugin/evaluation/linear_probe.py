# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Linear classifiers on cached features: a whole grid of them trained at once."""

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch

from ..progress import watched
from .knn import check_features

LRS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)  # ours, for features scaled as `standardizer` does
WEIGHT_DECAYS = (0.0, 1e-5, 1e-4)  # ours
HELD_OUT = 0.1  # share of the training images that chooses among the heads (ours)


class HeadSetting(NamedTuple):
    """What a head is trained with."""

    lr: float
    weight_decay: float


class ProbeResult(NamedTuple):
    """What the fast linear probe found.

    Attributes:
        accuracy: top-1 in percent on the test images, of one head trained on all training images.
        best: its setting, chosen on the held-out images.
        held_out: top-1 in percent of every setting on the held-out images, 0 where it diverged.
        at_edge: the best learning rate is the grid's smallest or largest: widen the grid.
    """

    accuracy: float
    best: HeadSetting
    held_out: dict[HeadSetting, float]
    at_edge: bool


def linear_probe(
    features: torch.Tensor,
    labels: torch.Tensor,
    test_features: torch.Tensor,
    test_labels: torch.Tensor,
    lrs: Sequence[float] = LRS,
    weight_decays: Sequence[float] = WEIGHT_DECAYS,
    epochs: int = 100,
    batch_size: int = 256,
    seed: int = 0,
    show: bool = False,
) -> ProbeResult:
    """Choose a setting on held-out training images, train with it on all, judge on the test images.

    The test images have no part in the choice. The number of epochs is that of MoCo's linear
    protocol (arXiv 1911.05722), whose features pass through the network anew in every epoch.

    Args:
        features: (n, D), or (P, n, D) for P augmented passes over the images, used in turn.
        labels: (n,), integer >= 0.
        test_features: (m, D), without augmentation.
        test_labels: (m,).
        lrs, weight_decays: every pair is tried.
        epochs, batch_size: of every head.
        seed: of the order of the images and of the held-out ones.
        show: bars on the terminal.

    Raises:
        ValueError: features that are not finite or do not fit, fewer than two classes, a class
            with a single image, settings out of range, heads that all diverged.
    """
    passes = features if features.ndim == 3 else features[None]  # (P, n, D)
    for name, rows in (("train", passes.flatten(0, 1)), ("test", test_features)):
        check_features(rows, name)
    check_classes(labels, test_labels)
    settings = head_settings(lrs, weight_decays)
    mean, scale = standardizer(passes.flatten(0, 1))
    passes, tests = with_ones((passes - mean) / scale), with_ones((test_features - mean) / scale)
    classes = int(labels.max()) + 1

    held = held_out_rows(labels, HELD_OUT, seed).to(passes.device)
    keep = torch.ones(len(labels), dtype=torch.bool, device=passes.device)
    keep[held] = False
    labels = labels.to(passes.device)
    train = {"epochs": epochs, "batch_size": batch_size, "seed": seed, "show": show}
    heads = train_heads(passes[:, keep], labels[keep], classes, settings, **train)
    scores = head_accuracies(passes[0, held], labels[held], heads)
    if not any(scores):
        raise ValueError(f"every head diverged: learning rates {list(lrs)} are too large")
    best = settings[max(range(len(settings)), key=scores.__getitem__)]
    head = train_heads(passes, labels, classes, [best], **train)
    accuracy = head_accuracies(tests, test_labels.to(tests.device), head)[0]
    edge = len(set(lrs)) > 1 and best.lr in (min(lrs), max(lrs))
    return ProbeResult(accuracy, best, dict(zip(settings, scores, strict=True)), edge)


@torch.no_grad()
def train_heads(
    features: torch.Tensor,
    labels: torch.Tensor,
    num_classes: int,
    settings: Sequence[HeadSetting],
    epochs: int = 100,
    batch_size: int = 256,
    momentum: float = 0.9,
    seed: int = 0,
    show: bool = False,
) -> torch.Tensor:
    """Softmax regression by `torch.optim.SGD`'s rule with a cosine schedule, every setting at once.

    All heads start at zero and see the same batches, so each is what it would be alone. The
    gradient of the cross entropy is written out: features^T (softmax - one-hot) / batch.

    Args:
        features: (P, n, D); epoch e takes pass e mod P. A column of ones is the bias.
        labels: (n,), in 0..num_classes-1, on the same device.
        num_classes: C.
        settings: G of them.
        epochs, batch_size: an epoch ends with what is left of it.
        momentum: of SGD; 0.9 in MoCo's protocol.
        seed: see `epoch_orders`.
        show: a bar on the terminal.

    Returns:
        (G, D, C), to be applied as features @ head.
    """
    heads = features.new_zeros(len(settings), features.shape[2], num_classes)
    velocity = torch.zeros_like(heads)
    lr, decay = features.new_tensor(settings).T[:, :, None, None]  # (G, 1, 1) each
    steps = epochs * math.ceil(len(labels) / batch_size)
    step = 0
    orders = epoch_orders(len(labels), epochs, seed)
    for epoch, order in enumerate(watched(orders, f"{len(settings)} heads", show, epochs, 2)):
        for rows in order.to(features.device).split(batch_size):
            batch, truth = features[epoch % len(features), rows], labels[rows]  # (B, D), (B,)
            error = (batch @ heads).softmax(dim=2)  # (G, B, C)
            error[:, torch.arange(len(rows)), truth] -= 1
            gradient = batch.T @ error / len(rows) + decay * heads
            velocity.mul_(momentum).add_(gradient)
            heads -= lr * cosine(step, steps) * velocity
            step += 1
    return heads


def epoch_orders(rows: int, epochs: int, seed: int) -> Iterator[torch.Tensor]:
    """A random order of the rows for each epoch, the same for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        yield torch.randperm(rows, generator=generator)


def cosine(step: int, steps: int) -> float:
    """Share of the learning rate at a step: from 1 down to 0 after the last."""
    return (1 + math.cos(math.pi * step / steps)) / 2


def head_accuracies(
    features: torch.Tensor, labels: torch.Tensor, heads: torch.Tensor, chunk: int = 4096
) -> list[float]:
    """Top-1 in percent of each head (G, D, C); 0 where it is not finite."""
    right = features.new_zeros(len(heads))
    for part, truth in zip(features.split(chunk), labels.split(chunk), strict=True):
        right += ((part @ heads).argmax(dim=2) == truth).sum(dim=1)
    finite = heads.isfinite().flatten(1).all(dim=1)
    return (100 * right * finite / len(labels)).tolist()


def standardizer(features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean (D,) and scale (D,) that give every dimension mean 0 and variance 1 / D.

    Features then have a norm of about 1, so that one grid of learning rates serves any backbone.
    The classifier stays linear in the features; MAE's protocol (arXiv 2111.06377) has a BatchNorm
    without scale for the same reason. A dimension that never varies becomes 0.
    """
    mean, std = features.mean(dim=0), features.std(dim=0, correction=0)
    return mean, std.clamp_min(std.amax() * 1e-6 + 1e-30) * math.sqrt(features.shape[1])


def with_ones(features: torch.Tensor) -> torch.Tensor:
    """(..., D) -> (..., D + 1): the last column, all ones, carries the bias."""
    return torch.cat([features, torch.ones_like(features[..., :1])], dim=-1)


def held_out_rows(labels: torch.Tensor, share: float, seed: int) -> torch.Tensor:
    """Rows of a random share of every class, at least one and never all of a class."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for label in labels.unique():
        own = torch.nonzero(labels == label).flatten()
        order = torch.randperm(len(own), generator=generator)
        rows.append(own[order[: max(1, int(share * len(own)))].to(own.device)])
    return torch.cat(rows).sort().values


def head_settings(lrs: Sequence[float], weight_decays: Sequence[float]) -> list[HeadSetting]:
    """Every pair.

    Raises:
        ValueError: no pair, a learning rate <= 0, a weight decay < 0.
    """
    settings = [HeadSetting(*pair) for pair in product(lrs, weight_decays)]
    if not settings or any(not s.lr > 0 or not s.weight_decay >= 0 for s in settings):
        raise ValueError(
            f"a linear probe needs learning rates above 0 and weight decays of at least 0, not "
            f"{list(lrs)} and {list(weight_decays)}"
        )
    return settings


def check_classes(labels: torch.Tensor, test_labels: torch.Tensor) -> None:
    """Raises ValueError unless two or more classes can be learnt and are those of the test set."""
    counts = torch.bincount(labels) if len(labels) else torch.zeros(0)
    present = counts.nonzero().flatten().tolist()
    if len(present) < 2:
        raise ValueError(
            f"the training set has {len(labels)} images of {len(present)} class(es): "
            "telling classes apart takes two"
        )
    if int(counts[present].min()) < 2:
        raise ValueError(
            f"class {present[int(counts[present].argmin())]} has a single training image: "
            "one to train on and one to choose by are needed"
        )
    unseen = sorted(set(test_labels.tolist()) - set(present))
    if unseen:
        raise ValueError(f"the test set has classes without a training image: {unseen[:10]}")
