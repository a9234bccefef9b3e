# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every protocol that cached features can be judged by, behind one interface."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import torch

from ..precision import unit_norm
from ..progress import watched
from .feature_bank import FeatureBank
from .features import LabelledFeatures
from .knn import break_vote_ties, check_features, check_k, knn_votes
from .knn_val_loop import knn_settings, setting_name
from .linear_probe import LRS, WEIGHT_DECAYS, linear_probe
from .retrieval import retrieval_scores

# Unless k is named: those of them that the set has images for.
KS = (10, 20, 200)
RECALLS = (1, 5, 10)


class Score(NamedTuple):
    """One figure: percent of a metric by a protocol in a setting; std where it is a mean."""

    protocol: str
    setting: str
    metric: str
    percent: float
    std: float | None = None


class LabelledSets(NamedTuple):
    """What the protocols judge.

    Attributes:
        train: of the training images; features (n, D) as the backbone gives them, labels (n,), or
            (n, C) as `targets_of` reads them.
        test: of the test images, which only scores are computed on.
        augmented: (P, n, D), further passes over the training images with random crops and flips,
            or None.
    """

    train: LabelledFeatures
    test: LabelledFeatures
    augmented: torch.Tensor | None = None


@dataclass(frozen=True)
class Settings:
    """Of all protocols; see the functions that take them.

    ``ks`` and ``recalls`` of None are those of `KS` and `RECALLS` that the set has images for.
    """

    ks: Sequence[int] | None = None
    temperatures: Sequence[float | None] = (0.07,)
    lrs: Sequence[float] = LRS
    weight_decays: Sequence[float] = WEIGHT_DECAYS
    epochs: int = 100
    costs: Sequence[float] | None = None
    shots: Sequence[int] | None = None
    samples: int = 5
    rule: str = "area"
    recalls: Sequence[int] | None = None
    jobs: int = 1
    show: bool = False


def run_knn(sets: LabelledSets, settings: Settings) -> list[Score]:
    """Weighted kNN for every k and temperature, from one search for the largest k."""
    _one_label(sets, "knn")
    ks = _that_fit(settings.ks, KS, len(sets.train.labels))
    grid = knn_settings(ks, settings.temperatures)
    bank = FeatureBank(sets.train._replace(features=unit_norm(sets.train.features)))
    queries = unit_norm(sets.test.features)
    check_features(queries, "queries")
    _several_classes(sets)
    parts = queries.split(bank.query_chunk)
    largest = max(ks)
    found = [bank.search(part, largest) for part in watched(parts, "kNN", settings.show, least=4)]
    similarity, labels = (torch.cat(part).cpu() for part in zip(*found, strict=True))
    classes = int(bank.labels.max()) + 1
    scores = []
    for k, temperature in grid:
        votes = knn_votes(similarity[:, :k], labels[:, :k], classes, temperature)
        right = break_vote_ties(votes).argmax(dim=1) == sets.test.labels
        top1 = 100 * float(right.double().mean())
        scores.append(Score("knn", setting_name(k, temperature), "top1", top1))
    return scores


def run_linear(sets: LabelledSets, settings: Settings) -> list[Score]:
    """The fast linear probe: `linear_probe`."""
    _one_label(sets, "linear-fast")
    features = sets.train.features
    if sets.augmented is not None:
        features = torch.cat([features[None], sets.augmented])
    result = linear_probe(
        features,
        sets.train.labels,
        *sets.test[:2],
        lrs=settings.lrs,
        weight_decays=settings.weight_decays,
        epochs=settings.epochs,
        show=settings.show,
    )
    setting = f"lr {result.best.lr:g}, wd {result.best.weight_decay:g}"
    if features.ndim == 3:
        setting += f", {len(features)} passes"
    if result.at_edge:
        setting += " (edge of the grid: widen --lr)"
    held_out = result.held_out[result.best]
    return [
        Score("linear-fast", setting, "top1", result.accuracy),
        Score("linear-fast", setting, "top1 held out", held_out),
    ]


def run_svm(sets: LabelledSets, settings: Settings) -> list[Score]:
    """One SVM a class: mAP, and for single labels the accuracy of the largest score."""
    svm = _svm()
    arrays = _arrays(sets)
    result = svm.svm_scores(*arrays, settings.costs or svm.COSTS, **_svm_settings(settings))
    setting = f"C {result.costs.min():.3g} to {result.costs.max():.3g}"
    metric = f"mAP ({settings.rule}{_shown(arrays[3])})"
    scores = [Score("svm", setting, metric, result.mean_precision)]
    if sets.test.labels.ndim == 1:
        right = result.scores.argmax(axis=1) == sets.test.labels.numpy()
        scores.append(Score("svm", setting, "top1", 100 * float(right.mean())))
    return scores


def run_low_shot(sets: LabelledSets, settings: Settings) -> list[Score]:
    """The same from k images a class: mean and standard deviation of mAP over the samples."""
    svm = _svm()
    arrays = _arrays(sets)
    smallest = int((arrays[1] == 1).sum(axis=0).min())
    shots = settings.shots or [k for k in svm.SHOTS if k <= smallest]
    found = svm.low_shot_scores(
        *arrays,
        shots=shots,
        samples=settings.samples,
        costs=settings.costs or svm.COSTS,
        **_svm_settings(settings),
    )
    metric = f"mAP ({settings.rule}{_shown(arrays[3])})"
    return [
        Score(
            *("low-shot", f"k = {k}, {len(means)} samples", metric, float(means.mean())),
            std=float(means.std(ddof=1)) if len(means) > 1 else None,
        )
        for k, means in found.items()
    ]


def run_retrieval(sets: LabelledSets, settings: Settings) -> list[Score]:
    """Each test image looks for its class among the other test images."""
    _one_label(sets, "retrieval")
    features = unit_norm(sets.test.features)
    recalls = _that_fit(settings.recalls, RECALLS, len(features) - 1)
    scores = retrieval_scores(features, sets.test.labels, recalls, show=settings.show)
    return [Score("retrieval", "among the test images", *item) for item in scores.items()]


PROTOCOLS: dict[str, Callable[[LabelledSets, Settings], list[Score]]] = {
    "knn": run_knn,
    "linear-fast": run_linear,
    "svm": run_svm,
    "low-shot": run_low_shot,
    "retrieval": run_retrieval,
}


def check_sets(sets: LabelledSets) -> None:
    """Raises ValueError for an empty set, or for features that are not finite."""
    for name, part in (("train", sets.train), ("test", sets.test)):
        if not len(part.features):
            raise ValueError(f"the {name} set is empty: there is nothing to judge by")
        check_features(part.features, name)


def check_neighbours(names: Sequence[str], settings: Settings, train: int, test: int) -> None:
    """Raises ValueError for a named k that is larger than the set it is looked for in.

    Args:
        names: of the protocols.
        settings: theirs.
        train: images of the training set.
        test: images of the test set.
    """
    for name, ks, rows in (("knn", settings.ks, train), ("retrieval", settings.recalls, test - 1)):
        for k in ks or () if name in names and rows > 0 else ():
            check_k(k, rows)


def _that_fit(named: Sequence[int] | None, usual: Sequence[int], most: int) -> Sequence[int]:
    return named or [k for k in usual if k <= most] or [1]


def _one_label(sets: LabelledSets, protocol: str) -> None:
    if sets.train.labels.ndim != 1:
        raise ValueError(
            f"{protocol} needs one label per image, and these images have several: use the "
            "protocols svm and low-shot"
        )


def _several_classes(sets: LabelledSets) -> None:
    present = sets.train.labels.unique().tolist()
    if len(present) < 2:
        raise ValueError(
            f"all {len(sets.train.labels)} training images are of class {present[0]}: telling "
            "classes apart takes two"
        )


def _svm():
    if find_spec("sklearn") is None:
        raise ValueError("svm and low-shot need scikit-learn: pip install scikit-learn joblib")
    from . import svm

    return svm


def _shown(targets: np.ndarray) -> str:
    """Over how many classes is judged, where the test images do not show all."""
    shown = int((targets == 1).any(axis=0).sum())
    return "" if shown == targets.shape[1] else f", {shown} of {targets.shape[1]} classes"


def _svm_settings(settings: Settings) -> dict:
    return {"rule": settings.rule, "jobs": settings.jobs, "show": settings.show}


def _arrays(sets: LabelledSets) -> tuple[np.ndarray, ...]:
    """Unit-norm features and targets of both sets; one label becomes a row of one and zeros."""
    classes = 1 + int(max(sets.train.labels.max(), sets.test.labels.max()))
    arrays = []
    for part in (sets.train, sets.test):
        targets = part.labels
        if targets.ndim == 1:
            _several_classes(sets)
            targets = torch.nn.functional.one_hot(targets, classes)
        arrays += [unit_norm(part.features).cpu().double().numpy(), targets.numpy()]
    return tuple(arrays)
