# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch.utils._python_dispatch import TorchDispatchMode

from xmoco_plugin.evaluation.retrieval import retrieval_scores
from xmoco_plugin.precision import unit_norm


def drawn(rows: int, classes: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (rows,), generator=generator)
    centres = torch.randn(classes, 6, generator=generator)
    return unit_norm(centres[labels] + torch.randn(rows, 6, generator=generator)), labels


def by_loops(features, labels, ks):
    """Image after image, neighbour after neighbour, in Python numbers."""
    found, precisions = {k: [] for k in ks}, []
    for i in range(len(features)):
        others = [j for j in range(len(features)) if j != i]
        if all(labels[j] != labels[i] for j in others):
            continue
        ranked = sorted(others, key=lambda j, i=i: (-float(features[i] @ features[j]), j))
        hits, sums = 0, 0.0
        for rank, j in enumerate(ranked, start=1):
            if labels[j] == labels[i]:
                hits += 1
                sums += hits / rank
        precisions.append(sums / hits)
        for k in ks:
            found[k].append(any(labels[j] == labels[i] for j in ranked[:k]))
    return {f"recall@{k}": 100 * np.mean(found[k]) for k in ks} | {"mAP": 100 * np.mean(precisions)}


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_equals_slow_loops_whatever_the_chunk(chunk):
    features, labels = drawn(50, 8)
    labels[3] = 99  # alone in its class: it does not ask
    expected = by_loops(features, labels, (1, 5, 10))
    assert retrieval_scores(features, labels, chunk=chunk) == pytest.approx(expected, abs=1e-4)
    assert 10 < expected["mAP"] < 95


def test_map_is_the_mean_of_scikit_learns_average_precision():
    features, labels = drawn(40, 4, seed=1)
    similarity = (features @ features.T).numpy()
    precisions = []
    for i in range(40):
        others = np.arange(40) != i
        truth = (labels == labels[i]).numpy()[others]
        precisions.append(average_precision_score(truth, similarity[i, others]))
    scores = retrieval_scores(features, labels)
    assert scores["mAP"] == pytest.approx(100 * np.mean(precisions), abs=1e-4)


class NoDouble(TorchDispatchMode):
    """Refuses what Apple's mps refuses."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.dtype == torch.float64:
            raise TypeError(f"{func}: no float64 on this device")
        return out


def test_no_float64_is_asked_of_the_device():
    features, labels = drawn(50, 8)
    with NoDouble():
        scores = retrieval_scores(features, labels)
    assert scores == pytest.approx(by_loops(features, labels, (1, 5, 10)), abs=1e-4)


def test_value_by_hand():
    angle = torch.tensor([0.0, 0.1, 0.3, 1.0])
    features = torch.stack([angle.cos(), angle.sin()], dim=1)
    # Neighbours in order: 0: 1 2 3; 1: 0 2 3; 2: 1 0 3; 3: 2 1 0. Classes a b a b.
    scores = retrieval_scores(features, torch.tensor([0, 1, 0, 1]), ks=(1, 2))
    assert scores["recall@1"] == 0
    assert scores["recall@2"] == 75
    assert scores["mAP"] == pytest.approx(100 * (1 / 2 + 1 / 3 + 1 / 2 + 1 / 2) / 4)


def test_equal_similarities_go_to_the_lower_row():
    features = torch.tensor([[1.0, 0.0]] * 3)
    assert retrieval_scores(features, torch.tensor([0, 0, 1]), ks=(1,))["recall@1"] == 100
    assert retrieval_scores(features, torch.tensor([0, 1, 0]), ks=(1,))["recall@1"] == 50


def test_bad_input_is_refused_with_the_value_at_fault():
    features, labels = drawn(10, 3)
    with pytest.raises(ValueError, match="k = 10 neighbours, but the bank has 9 images"):
        retrieval_scores(features, labels, ks=(10,))
    with pytest.raises(ValueError, match="all 10 images are of one class"):
        retrieval_scores(features, torch.zeros(10), ks=(1,))
    with pytest.raises(ValueError, match="none of 10 images has another one of its class"):
        retrieval_scores(features, torch.arange(10), ks=(1,))
    with pytest.raises(ValueError, match="10 of 10 feature rows hold NaN"):
        retrieval_scores(features * torch.nan, labels, ks=(1,))
