# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Two gloo processes give the terms, and their gradients, of one process with the whole batch."""

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from tests.models import views
from tests.multiprocess import run_processes
from tests.plug_in.rows import ROWS, build, host_of, logged, plugged

N = 8  # global batch
TERMS = ("loss_consistency", "loss_uniformity")
WEIGHTS = dict(consistency=dict(loss_weight=1.0), uniformity=dict(loss_weight=1.0))


def gradients(rank, size, config):
    """What DDP leaves in the parameters after one step, and the step's log."""
    model = build(config)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            module.eval()  # its statistics are those of a process
    wrapped = model if size == 1 else DistributedDataParallel(model, find_unused_parameters=True)
    part = [view[rank * N // size : (rank + 1) * N // size] for view in views(N, seed=0)]
    torch.manual_seed(0)
    total, log = model.parse_losses(wrapped(part, mode="loss"))
    total.backward()
    used = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {n.replace("head.head.", "head."): grad for n, grad in used.items()}, log


def steps(rank, size):
    """For each row: the gradient of the terms alone, of the host alone, and the terms."""
    results = {}
    for name in ROWS:
        config = plugged(name, **WEIGHTS)
        both, log = gradients(rank, size, config)
        host, _ = gradients(rank, size, host_of(config))
        alone = {n: grad - host.get(n, 0) for n, grad in both.items()}
        terms = [log[t].item() if t in log else logged(t, ROWS[name].passes) for t in TERMS]
        results[name] = dict(alone=alone, host=host, terms=torch.tensor(terms).double())
    return results


@pytest.fixture(scope="module")
def runs():
    return steps(0, 1), run_processes(steps, 2)


@pytest.mark.parametrize("name", ROWS)
def test_two_processes_together_are_one(runs, name):
    single, ranks = runs[0][name], [rank[name] for rank in runs[1]]
    mean = (ranks[0]["terms"] + ranks[1]["terms"]) / 2
    assert torch.allclose(mean, single["terms"], rtol=1e-6, atol=0)
    scale = max(grad.abs().max() for grad in single["alone"].values())
    assert scale > 1e-5
    for n, expected in single["alone"].items():
        for rank in ranks:
            assert torch.allclose(rank["alone"][n], expected, rtol=1e-6, atol=1e-9 * scale), n


@pytest.mark.parametrize("name", ["simclr-r50", "barlowtwins-r50"])
def test_hosts_whose_own_gradient_shrinks_with_the_number_of_processes(runs, name):
    # docs/dev/hosts.md: the terms' gradient does not shrink, so that they weigh more beside it.
    single, ranks = runs[0][name]["host"], [rank[name]["host"] for rank in runs[1]]
    for n, expected in single.items():
        scale = max(1.0, expected.abs().max())
        assert torch.allclose(2 * ranks[0][n], expected, rtol=1e-6, atol=1e-9 * scale), n
