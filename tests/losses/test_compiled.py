# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The terms in a compiled step whose batches are of several sizes."""

import pytest
import torch
import torch.nn.functional as F

from xmoco_plugin.losses import CrossConsistencyLoss, UniformSimilarityLoss


@pytest.mark.parametrize(
    "term",
    [CrossConsistencyLoss(), CrossConsistencyLoss(divergence="sym_kl"), UniformSimilarityLoss()],
    ids=["mse", "sym_kl", "uniformity"],
)
def test_one_compiled_step_takes_batches_of_several_sizes(term):
    torch._dynamo.reset()  # what another test has compiled for one size
    # Traced, not turned into C++: it was the trace that broke off.
    step = torch.compile(term, dynamic=True, backend="eager")
    for n in (4, 6):
        q, k = F.normalize(torch.randn(2, n, 8), dim=2)
        torch.testing.assert_close(step(q, k), term(q, k))
