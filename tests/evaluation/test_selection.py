# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which images are picked to be labelled: by hand, and by slow references."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from xmoco_plugin.evaluation.selection import (
    Far,
    are_alike,
    k_centre,
    nearest_alike,
    typical,
    typicality,
)


def on_circle(*degrees: float) -> torch.Tensor:
    """Unit vectors in the plane."""
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def unlabelled(features: torch.Tensor) -> torch.Tensor:
    return torch.zeros(len(features), dtype=torch.bool)


def clouds(sizes: list[int], seed: int = 0) -> torch.Tensor:
    """Clusters around axes, one after the other; the first rows of each lie closest together."""
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for axis, size in enumerate(sizes):
        noise = torch.randn(size, 8, generator=generator) * torch.linspace(0.01, 0.2, size)[:, None]
        rows.append(torch.eye(8)[axis] + noise)
    return normalize(torch.cat(rows), dim=1)


def test_farthest_first_begins_in_the_middle_and_goes_to_what_is_farthest_from_all_before():
    picks = k_centre(features := on_circle(0, 10, 20, 80, 170), unlabelled(features), 4)
    assert [found.row for found in picks] == [2, 4, 3, 0]
    assert picks[0] == Far(2, None, None)
    assert [found.nearest for found in picks[1:]] == [2, 2, 2]
    for found, degrees in zip(picks[1:], (150, 60, 20), strict=True):
        assert found.distance == pytest.approx(1 - math.cos(math.radians(degrees)), abs=1e-6)


def test_farthest_first_begins_far_from_what_is_labelled_and_picks_nothing_of_it():
    features = on_circle(0, 10, 20, 80, 170)
    labelled = torch.tensor([False, False, False, False, True])
    picks = k_centre(features, labelled, 4)
    assert [(found.row, found.nearest) for found in picks[:2]] == [(0, 4), (3, 0)]
    assert sorted(found.row for found in picks) == [0, 1, 2, 3]


def test_farthest_first_is_the_greedy_of_its_definition():
    features = normalize(torch.randn(60, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    labelled = torch.arange(60) < 4
    chosen = list(range(4))
    for found in k_centre(features, labelled, 12):
        free = [row for row in range(60) if row not in chosen]
        gaps = {row: min(float(1 - features[row] @ features[c]) for c in chosen) for row in free}
        assert found.row == max(free, key=gaps.__getitem__)
        assert found.distance == pytest.approx(gaps[found.row], abs=1e-6)
        chosen.append(found.row)


def test_from_where_on_picks_repeat_what_is_there_is_found():
    features = on_circle(0, 0, 90, 90)
    picks = k_centre(features, unlabelled(features), 4)
    assert nearest_alike(picks) == 2
    assert nearest_alike(picks[:2]) is None
    assert nearest_alike(k_centre(features, torch.tensor([True, False, True, False]), 2)) == 0


def test_typicality_is_one_over_the_mean_distance_to_the_nearest_half():
    features = on_circle(0, 10, 20, 90)
    chord = lambda degrees: 2 * math.sin(math.radians(degrees) / 2)  # noqa: E731
    expected = [2 / (chord(a) + chord(b)) for a, b in ((10, 20), (10, 10), (10, 20), (70, 80))]
    assert typicality(features).tolist() == pytest.approx(expected, rel=1e-4)
    assert typicality(features[:1]).tolist() == [0]


def test_typical_images_lie_in_the_dense_places_of_the_largest_clusters():
    features = clouds([40, 30, 20, 10])
    picks = typical(features, unlabelled(features), 4)
    assert [found.images for found in picks] == [40, 30, 20, 10]
    assert [found.cluster for found in picks] == [1, 2, 3, 4]
    begins = (0, 40, 70, 90)
    for found, begin, size in zip(picks, begins, (40, 30, 20, 10), strict=True):
        assert begin <= found.row < begin + size / 2
        own = typicality(features[begin : begin + size])
        assert found.typicality == pytest.approx(float(own.max()), rel=1e-5)


def test_clusters_that_have_a_label_wait_for_those_that_have_none():
    features = clouds([40, 30, 20])
    labelled = torch.zeros(90, dtype=torch.bool)
    labelled[5] = True  # of the largest
    picks = typical(features, labelled, 2)
    assert [found.images for found in picks] == [30, 20]
    assert typical(features, labelled, 2) == picks  # the same clusters each time


def test_an_outlier_is_no_cluster_of_its_own_unless_images_are_few():
    features = clouds([30, 20, 1])
    assert [found.images for found in typical(features, unlabelled(features), 3)] == [30, 20, 30]
    few = clouds([3, 3, 2, 2])
    assert [found.images for found in typical(few, unlabelled(few), 4)] == [3, 3, 2, 2]


def test_of_all_images_each_is_picked_once():
    features = clouds([30, 20, 1])
    picks = typical(features, unlabelled(features), len(features))
    assert sorted(found.row for found in picks) == list(range(51))


def test_of_copies_there_are_fewer_clusters_and_no_library_s_warning(recwarn):
    features = on_circle(*[0] * 8, *[90] * 6)
    picks = typical(features, unlabelled(features), 4)
    assert [found.images for found in picks] == [8, 6, 8, 6]
    assert [found.cluster for found in picks] == [1, 2, 1, 2]
    assert not [w for w in recwarn if "cluster" in str(w.message)]


@pytest.mark.parametrize("way", [k_centre, typical])
def test_what_cannot_be_picked_is_refused_with_the_numbers(way):
    features = on_circle(0, 10, 20)
    labelled = torch.tensor([True, False, False])
    with pytest.raises(ValueError, match="3 images are to be picked, and 2 are without a label"):
        way(features, labelled, 3)
    features[1] = math.nan
    with pytest.raises(ValueError, match="1 of 3 feature rows hold NaN"):
        way(features, labelled, 1)


def test_features_that_differ_by_rounding_are_alike_and_zeros_are():
    features = normalize(torch.ones(5, 512) + 1e-6 * torch.randn(5, 512), dim=1)
    assert are_alike(features)
    assert are_alike(torch.zeros(3, 4))
    assert not are_alike(features[:1])
    assert not are_alike(on_circle(0, 0, 1))
