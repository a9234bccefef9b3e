# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The picture of a batch's similarities, which reports and summaries draw, for each algorithm."""

import pytest
import torch

from xmoco_plugin.visualization.similarity_map import two_view_similarity

from .rows import ROWS, build, plugged


@pytest.mark.parametrize("name", ROWS)
def test_every_algorithm_has_a_map_of_two_views_and_like_views_are_alike(name):
    model = build(plugged(name)).float()
    view = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = two_view_similarity(model, [view, view])
    assert found.shape == (4, 4)
    assert torch.allclose(found.diagonal(), torch.ones(4), atol=1e-4)
    assert found[0, 1] < 0.9999
