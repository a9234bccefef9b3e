# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math

import pytest
import torch
import torch.nn.functional as F

from xmoco_plugin.evaluation import Compared, measure_step
from xmoco_plugin.evaluation.diagnostics import info_nce_of

from ..host_copies import HostCopies
from ..multiprocess import run_processes

TAU, DIM = 0.2, 8


def sphere(n: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(n, DIM, generator=generator, dtype=torch.float64), dim=1)


def batch(n: int = 12, queue: int = 20) -> Compared:
    return Compared(q=sphere(n, 0), k=sphere(n, 1), queue=sphere(queue, 2).T)


def numbers(step) -> dict[str, float]:
    return {name: float(value) for name, value in step.values.items()}


def test_with_a_queue_its_keys_are_the_negatives():
    seen = batch()
    step = measure_step(seen, TAU)
    values = numbers(step)
    similarity = seen.q @ seen.queue
    own = (seen.q * seen.k).sum(dim=1)
    assert step.negatives == 20
    assert values["neg_sim_mean"] == pytest.approx(float(similarity.mean()))
    assert values["neg_sim_std"] == pytest.approx(float(similarity.std(correction=0)))
    assert values["pos_sim_mean"] == pytest.approx(float(own.mean()))
    assert values["nce_ratio"] == pytest.approx(
        float(info_nce_of(own, similarity, TAU)) / math.log(21)
    )
    assert set(values) == {
        "pos_sim_mean", "pos_sim_std", "neg_sim_mean", "neg_sim_std", "nce_ratio", "dim_std",
        "alignment", "uniformity_wi", "asymmetry", "neg_entropy",
    }  # fmt: skip
    assert step.histograms.sum(dim=1).tolist() == [12, 240]


def test_without_a_queue_the_other_images_are_the_negatives():
    seen = batch()
    seen.queue = None
    step = measure_step(seen, TAU)
    similarity = seen.q @ seen.k.T
    off = ~torch.eye(12, dtype=torch.bool)
    assert step.negatives == 11
    assert numbers(step)["neg_sim_mean"] == pytest.approx(float(similarity[off].mean()))
    logits = F.cross_entropy(similarity / TAU, torch.arange(12))
    assert numbers(step)["nce_ratio"] == pytest.approx(float(logits) / math.log(12))


def test_similarities_alone_give_what_they_can():
    seen = batch()
    given = Compared(positive=(seen.q * seen.k).sum(dim=1), negative=seen.q @ seen.queue)
    values, full = numbers(measure_step(given, TAU)), numbers(measure_step(seen, TAU))
    assert set(values) == {
        "pos_sim_mean", "pos_sim_std", "neg_sim_mean", "neg_sim_std", "nce_ratio", "neg_entropy",
    }  # fmt: skip
    assert values == pytest.approx({name: full[name] for name in values})


def test_without_a_temperature_there_is_no_info_nce():
    assert {"nce_ratio", "neg_entropy"}.isdisjoint(measure_step(batch(), None).values)


def test_an_empty_queue_has_no_negatives_and_one_image_no_pairs():
    values = numbers(measure_step(batch(queue=0), TAU))
    assert {"pos_sim_mean", "dim_std"} <= set(values)
    assert "neg_sim_mean" not in values
    alone = numbers(measure_step(batch(n=1), TAU))
    assert "neg_sim_mean" in alone
    assert {"dim_std", "asymmetry", "uniformity_wi"}.isdisjoint(alone)


def test_a_batch_beyond_the_limit_compares_its_first_queries(monkeypatch):
    monkeypatch.setattr("xmoco_plugin.evaluation.step_health.MAX_QUERIES", 5)
    seen = batch()
    step = measure_step(seen, TAU)
    assert step.histograms[1].sum() == 5 * 20
    own = (seen.q * seen.k).sum(dim=1)
    expected = info_nce_of(own[:5], seen.q[:5] @ seen.queue, TAU) / math.log(21)
    assert numbers(step)["nce_ratio"] == pytest.approx(float(expected))


def parts(rank, size, queue):
    seen = batch()
    share = slice(rank * 12 // size, (rank + 1) * 12 // size)
    part = Compared(seen.q[share], seen.k[share], seen.queue if queue else None)
    step = measure_step(part, TAU)
    return {name: float(value) for name, value in step.values.items()}, step.histograms


@pytest.mark.parametrize("queue", [True, False])
def test_two_processes_average_to_what_one_with_the_whole_batch_sees(queue):
    seen = batch()
    seen.queue = seen.queue if queue else None
    whole = measure_step(seen, TAU)
    (first, counts_a), (second, counts_b) = run_processes(parts, 2, queue)
    for name, value in numbers(whole).items():
        if not name.endswith("sim_std"):  # the spread is within a process's part
            assert (first[name] + second[name]) / 2 == pytest.approx(value), name
    for name in ("dim_std", "uniformity_wi", "asymmetry"):
        assert first[name] == second[name]
    assert torch.equal(counts_a + counts_b, whole.histograms)


def test_a_look_neither_asks_the_device_nor_copies_anything_to_it():
    # Tensors of 'meta' have no values: whatever waits for one fails.
    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, device="meta")

    seen = Compared(draw(64, 4), draw(64, 4), draw(4, 32), views=(draw(64, 3, 8, 8),) * 2)
    with HostCopies() as copies:
        found = measure_step(seen, 0.2)
    assert copies.found == []
    assert found.histograms.is_meta
    assert "pixel_match" in found.values
