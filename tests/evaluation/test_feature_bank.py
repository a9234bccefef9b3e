# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""On one process; test_processes.py has the rest."""

import pytest
import torch

from xmoco_plugin.evaluation.feature_bank import FeatureBank
from xmoco_plugin.evaluation.features import LabelledFeatures
from xmoco_plugin.evaluation.knn import knn_topk

from .test_knn import features, tied_features


def whole_bank(rows: torch.Tensor, labels: torch.Tensor | None = None) -> FeatureBank:
    places = torch.arange(len(rows))
    return FeatureBank(LabelledFeatures(rows, places if labels is None else labels, places))


def test_one_process_gives_the_plain_search_with_labels_for_rows():
    bank, labels = tied_features(45, 1), torch.arange(45) % 7
    similarity, rows = knn_topk(tied_features(13, 0), bank, 14)
    found = whole_bank(bank, labels).search(tied_features(13, 0), 14)
    assert torch.equal(found[0], similarity)
    assert torch.equal(found[1], labels[rows])


def test_queries_of_another_dimension_are_refused():
    with pytest.raises(ValueError, match="queries have 9 dimensions, the bank has 16"):
        whole_bank(features(45, 16, 1)).search(features(2, 9, 0), 3)


def test_more_neighbours_than_images_are_refused():
    with pytest.raises(ValueError, match="k = 46 neighbours, but the bank has 45 images"):
        whole_bank(features(45, 16, 1)).search(features(2, 16, 0), 46)


def test_an_empty_bank_is_refused():
    with pytest.raises(ValueError, match="the bank is empty"):
        whole_bank(torch.empty(0, 16))


def test_diverged_features_are_counted():
    bad = features(45, 16, 1)
    bad[[3, 8]] = torch.nan
    with pytest.raises(ValueError, match="bank: 2 of 45 feature rows"):
        whole_bank(bad)
