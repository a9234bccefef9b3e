# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Linear SVMs, one a class, on cached features: FAIR's VOC07 benchmark (arXiv 1905.01235)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from joblib import Parallel, delayed
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

from ..progress import watched
from .average_precision import average_precision

# FAIR's grid: powers of ten and 2^-4 ... 2^-19.
COSTS = (*(10.0**n for n in range(-7, 3)), *(0.5**n for n in range(4, 20)))
SHOTS = (1, 2, 4, 8, 16, 32, 64, 96)
FOLDS = 3


class SVMResult(NamedTuple):
    """What the SVMs of all classes score.

    Attributes:
        precisions: (C,), average precision in percent.
        costs: (C,), chosen by cross-validation.
        scores: (m, C), of the test images.
    """

    precisions: np.ndarray
    costs: np.ndarray
    scores: np.ndarray

    @property
    def mean_precision(self) -> float:
        """mAP in percent, over the classes that the test images show."""
        return float(np.nanmean(self.precisions))


def svm_scores(
    features: np.ndarray,
    targets: np.ndarray,
    test_features: np.ndarray,
    test_targets: np.ndarray,
    costs: Sequence[float] = COSTS,
    rule: str = "area",
    jobs: int = 1,
    show: bool = False,
) -> SVMResult:
    """Train each class against the others on unit-norm features, judge by average precision.

    C is chosen for each class by cross-validated average precision on the training images, in
    three folds. Images whose target is -1 (difficult) have no part in training or judging.

    Args:
        features: (n, D), unit norm.
        targets: (n, C): 1, 0 or -1.
        test_features, test_targets: (m, D), (m, C).
        costs: C of the SVM, each > 0.
        rule: see `average_precision`.
        jobs: threads.
        show: a bar on the terminal.

    Raises:
        ValueError: features that are not finite, a class without a training image, or a set with
            nothing but its images.
    """
    _check(features, targets, "training")
    _check(test_features, test_targets, "test")
    classes = range(targets.shape[1])
    found = _in_parallel(
        [(features, targets[:, c], test_features, costs) for c in classes], jobs, show, "SVM"
    )
    scores = np.stack([score for score, _ in found], axis=1)
    precisions = [_precision(test_targets[:, c], scores[:, c], rule) for c in classes]
    return SVMResult(np.array(precisions), np.array([cost for _, cost in found]), scores)


def low_shot_scores(
    features: np.ndarray,
    targets: np.ndarray,
    test_features: np.ndarray,
    test_targets: np.ndarray,
    shots: Sequence[int] = SHOTS,
    samples: int = 5,
    costs: Sequence[float] = COSTS,
    rule: str = "area",
    seed: int = 0,
    jobs: int = 1,
    show: bool = False,
) -> dict[int, np.ndarray]:
    """`svm_scores` from k images a class, for several k and random choices of the images.

    Unlike FAIR, which reports the best C on the test images, C is chosen inside the k images; with
    k = 1 nothing is left to choose by, and it is 1 (ours).

    Args:
        features, targets, test_features, test_targets, costs, rule, jobs, show: see `svm_scores`.
        shots: the values of k.
        samples: choices for each k.
        seed: of the choices.

    Returns:
        mAP in percent of each sample, (samples,), by k.

    Raises:
        ValueError: as `svm_scores`; a class with fewer than k images.
    """
    _check(features, targets, "training")
    _check(test_features, test_targets, "test")
    todo = []
    for k in shots:
        for sample in range(samples):
            chosen = low_shot_targets(targets, k, np.random.default_rng([seed, sample, k]))
            todo += [(features, column, test_features, costs) for column in chosen.T]
    found = _in_parallel(todo, jobs, show, "low-shot SVM")
    classes = targets.shape[1]
    precisions = [
        _precision(test_targets[:, i % classes], score, rule) for i, (score, _) in enumerate(found)
    ]
    means = np.nanmean(np.reshape(precisions, (len(shots), samples, classes)), axis=2)
    return dict(zip(shots, means, strict=True))


def low_shot_targets(targets: np.ndarray, k: int, random: np.random.Generator) -> np.ndarray:
    """Targets (n, C) of which k ones and (C - 1) k zeros a class are left, the others -1.

    Each class is sampled on its own, as in FAIR's benchmark; zeros are fewer where there are not so
    many.

    Raises:
        ValueError: a class with fewer than k images.
    """
    few = int((targets == 1).sum(axis=0).min())
    if not 1 <= k <= few:
        raise ValueError(f"k = {k} images a class, but the smallest class has {few}: choose fewer")
    chosen = np.full_like(targets, -1)
    for c in range(targets.shape[1]):
        for value, number in ((1, k), (0, (targets.shape[1] - 1) * k)):
            rows = np.flatnonzero(targets[:, c] == value)
            chosen[random.choice(rows, min(number, len(rows)), replace=False), c] = value
    return chosen


def one_class(
    features: np.ndarray, truth: np.ndarray, test_features: np.ndarray, costs: Sequence[float]
) -> tuple[np.ndarray, float]:
    """Scores (m,) of the test images by the SVM of one class, and its C."""
    features, truth = features[truth >= 0], truth[truth >= 0]
    folds = min(FOLDS, int(truth.sum()), int((truth == 0).sum()))
    if len(costs) == 1 or folds < 2:
        cost = costs[0] if len(costs) == 1 else 1.0
    else:
        means = [
            cross_val_score(_svm(c), features, truth, cv=folds, scoring="average_precision").mean()
            for c in costs
        ]
        cost = costs[int(np.argmax(means))]
    return _svm(cost).fit(features, truth).decision_function(test_features), cost


def _svm(cost: float) -> LinearSVC:
    # FAIR's weights and loss. Solved in the primal: the same optimum without a random order of the
    # images, whose generator threads would share.
    return LinearSVC(C=cost, class_weight={1: 2, 0: 1}, dual=False, max_iter=2000, tol=1e-4)


def _in_parallel(todo: list[tuple], jobs: int, show: bool, name: str) -> list:
    # Threads: liblinear computes without the interpreter's lock, and nothing is copied. In order,
    # and each as it comes, so that the bar moves.
    parallel = Parallel(n_jobs=jobs, prefer="threads", return_as="generator")
    results = parallel(delayed(one_class)(*job) for job in todo)
    return list(watched(results, name, show, len(todo), least=2))


def _precision(targets: np.ndarray, scores: np.ndarray, rule: str) -> float:
    """In percent; NaN of a class that no test image shows."""
    return 100 * average_precision(targets, scores, rule) if (targets == 1).any() else math.nan


def _check(features: np.ndarray, targets: np.ndarray, name: str) -> None:
    bad = int((~np.isfinite(features).all(axis=1)).sum())
    if bad:
        raise ValueError(f"{name}: {bad} of {len(features)} feature rows hold NaN or infinity")
    for value, what in ((1, "no image"), (0, "no image without it")):
        if value and name == "test" and (targets == 1).any():
            continue  # judged over the others
        lacking = np.flatnonzero((targets == value).sum(axis=0) == 0)
        if len(lacking):
            raise ValueError(
                f"SVM: the {name} set of {len(features)} images has {what} for class(es) "
                f"{lacking[:10].tolist()} of {targets.shape[1]}"
            )
