# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What holds for every row: the host's numbers, the terms' values, where their gradient goes."""

import copy

import pytest
import torch
import torch.nn.functional as F

from tests import reference
from tests.algorithms.test_xmoco import train
from tests.models import views
from tests.plug_in.rows import QUEUE_TERMS, ROWS, build, host_of, logged, plugged

NO_WEIGHT = dict(consistency=dict(loss_weight=0.0), uniformity=dict(loss_weight=0.0))
FULL = dict(consistency=dict(loss_weight=0.7), uniformity=dict(loss_weight=0.3))
ROW = pytest.mark.parametrize("name", ROWS)


@ROW
def test_with_weights_0_ten_steps_are_the_hosts_bit_for_bit(name):
    ours, host = build(plugged(name, **NO_WEIGHT)), build(host_of(plugged(name)))
    start = copy.deepcopy(host.state_dict())
    assert train(ours, 10) == train(host, 10)
    state = ours.state_dict()
    assert list(state) == list(start)
    assert all(torch.equal(state[key], value) for key, value in host.state_dict().items())
    assert sum(not torch.equal(state[key], value) for key, value in start.items()) > len(start) / 2


@ROW
def test_with_the_terms_training_goes_another_way(name):
    ours, host = build(plugged(name, **FULL)), build(host_of(plugged(name)))
    assert train(ours, 3) != pytest.approx(train(host, 3), rel=1e-4)


@ROW
def test_terms_are_those_of_the_method_on_what_the_row_pairs_and_add_up_to_the_total(name):
    row, inputs = ROWS[name], views(8, seed=0)
    ours, host = build(plugged(name, **FULL)), build(host_of(plugged(name)))
    pairs = by_hand(copy.deepcopy(ours), inputs)
    torch.manual_seed(0)
    total, log = ours.parse_losses(ours.loss(inputs, None))
    torch.manual_seed(0)
    host_total, _ = host.parse_losses(host.loss(inputs, None))
    consistency, uniformity = values_of(log, row.passes)
    for got, (q, k, _) in zip(consistency, pairs, strict=True):
        expected = reference.consistency(q, k, None, "batch", "transpose", "mse", 0.2)
        assert expected > 1e-5
        assert got == pytest.approx(0.7 * expected, rel=1e-9)
    for got, (q, k, _) in zip(uniformity, pairs, strict=True):
        expected = reference.uniformity(q, k, None, "batch", "forward", 0.2)
        assert got == pytest.approx(0.3 * expected, rel=1e-9)
    terms = (sum(consistency) + sum(uniformity)) / row.passes
    assert total.item() == pytest.approx(host_total.item() + row.factor * terms, rel=1e-9)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.queue])
def test_queue_terms_read_the_queue_as_it_was_before_the_step(name):
    ours, inputs = build(plugged(name, **QUEUE_TERMS)), views(8, seed=0)
    if name == "swav-r50":
        assert values_of(ours.parse_losses(ours.loss(inputs, None))[1], 1) == ([0], [0])
        features = F.normalize(torch.randn(2, 16, 8, dtype=torch.float64), dim=2)
        features[:, 12:] = 0  # slots that nothing has filled yet
        ours.head.loss_module.queue = features.clone()
        queue = features[1, :12].tolist()
    else:
        queue = ours.queue.T.tolist()
    ((q, k, _),) = by_hand(copy.deepcopy(ours), inputs)
    consistency, uniformity = values_of(ours.parse_losses(ours.loss(inputs, None))[1], 1)
    expected = reference.consistency(q, k, queue, "queue", "momentum", "mse", 0.2)
    assert consistency == [pytest.approx(expected, rel=1e-9)]
    expected = reference.uniformity(q, k, queue, "queue", "forward", 0.2)
    assert uniformity == [pytest.approx(0.1 * expected, rel=1e-9)]


@ROW
def test_gradient_of_the_terms_reaches_the_sides_that_the_table_names_and_nothing_else(name):
    ours, seen = build(plugged(name, **FULL)), []
    terms_of = ours.head.terms

    def spy(q, k, queue=None):
        seen.append((q, k, queue, sum(terms_of(q, k, queue).values())))
        return dict(loss_consistency=seen[-1][-1])

    ours.head.terms = spy
    ours.loss(views(8, seed=0), None)
    assert len(seen) == ROWS[name].passes
    for q, k, queue, terms in seen:
        assert torch.autograd.grad(terms, q, retain_graph=True)[0].abs().min() > 0
        assert k.requires_grad == ROWS[name].key_gradient
        if k.requires_grad:
            assert torch.autograd.grad(terms, k, retain_graph=True)[0].abs().min() > 0
        assert queue is None or not queue.requires_grad


def test_dense_pair_is_weighted_as_densecl_weights_its_losses():
    config = plugged("densecl-r50", **FULL)
    config.update(dense_pair=True, loss_lambda=0.25)
    ours, inputs = build(config), views(8, seed=0)
    q, k = (copy.deepcopy(ours).neck(ours.backbone(view)) for view in inputs)
    losses = ours.loss(inputs, None)
    assert list(losses) == ["loss_single", "loss_dense", "loss_consistency", "loss_uniformity"]
    single, dense = (ours.head.consistency(*(F.normalize(x[i]) for x in (q, k))) for i in (0, 2))
    expected = 0.75 * single + 0.25 * dense
    assert losses["loss_consistency"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert single.item() != pytest.approx(dense.item(), rel=1e-3)


def test_swav_pairs_the_crops_that_it_assigns_and_leaves_the_small_ones_out():
    config = plugged("swav-r50", **FULL)
    config.head.head.loss.num_crops = [2, 3]
    ours, inputs = build(config), views(8, seed=0)
    small = [view[:, :, :4, :4] for view in (*views(8, seed=1), inputs[0])]
    with torch.no_grad():
        crops = [ours.backbone(torch.cat(part)) for part in (inputs, small)]
        q, k = ours.neck(crops)[:16].chunk(2)
    _, log = ours.parse_losses(ours.loss([*inputs, *small], None))
    expected = reference.consistency(q.tolist(), k.tolist(), None, "batch", "transpose", "mse", 0.2)
    assert values_of(log, 1)[0] == [pytest.approx(0.7 * expected, rel=1e-9)]


def values_of(log: dict, passes: int) -> tuple[list[float], list[float]]:
    """The two terms of each pass: from the algorithm's own log, or the engine's."""
    names = ("loss_consistency", "loss_uniformity")
    if names[0] in log:
        return tuple([log[name].item()] for name in names)
    return tuple(logged(name, passes) for name in names)


def by_hand(model, inputs) -> list[tuple]:
    """Unit-norm (q, k, queue) of each pass, as lists, where the key encoder is still the query's.

    Written from the table of docs/plug_in.md; moves the BatchNorm statistics of ``model``.
    """
    kind = type(model).__name__
    if kind == "RegularizedSimCLR":
        z = model.neck(model.backbone(torch.stack(inputs, 1).flatten(0, 1)))[0]
        sets = [(z[::2], z[1::2])]
    elif kind == "SwAV":
        sets = [model.neck([model.backbone(torch.cat(inputs))]).chunk(2)]
    else:
        first, second = (model.neck(model.backbone(view))[0] for view in inputs)
        sets = [(first, second)]
        if kind == "BarlowTwins":
            sets = [
                tuple((z - z.mean(0)) / (z.var(0, correction=0) + 1e-5).sqrt() for z in sets[0])
            ]
        elif kind != "RegularizedDenseCL":
            predict = model.head.predictor
            sets = [(predict([first])[0], second), (predict([second])[0], first)]
    return [(*(F.normalize(z, dim=1).tolist() for z in pair), None) for pair in sets]
