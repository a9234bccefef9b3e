# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One process, two and four must see the same; starting processes is dear, so it happens once."""

import os

import pytest
import torch

from xmoco_plugin.evaluation.feature_bank import FeatureBank
from xmoco_plugin.evaluation.features import LabelledFeatures, collect_features, embed_pixels
from xmoco_plugin.evaluation.knn import knn_topk

from ..multiprocess import run_processes
from .test_knn import features, tied_features
from .toy import build_runner, loader

ROWS, QUERIES, K = 45, 13, 14  # K is more than the rows that each of four processes holds


def split_bank(rank: int, size: int, whole: torch.Tensor) -> FeatureBank:
    """Every size-th row, as DefaultSampler hands them out; labels are the places, times ten."""
    places = torch.arange(rank, len(whole), size)
    part = LabelledFeatures(whole[places], 10 * places, places)
    return FeatureBank(part, bank_chunk=7, query_chunk=4)


def search(rank: int, size: int):
    """This rank's own queries, of unequal number between ranks, among ties."""
    mine = [i for i in range(QUERIES) if min(i // 4, size - 1) == rank]
    bank = split_bank(rank, size, tied_features(ROWS, 1))
    return bank.search(tied_features(QUERIES, 0)[mine], K)


def search_few(rank: int, size: int):
    """Three images and one rank with queries: of four processes one has neither."""
    queries = features(5, 16, 0)
    bank = split_bank(rank, size, features(3, 16, 1))
    return bank.search(queries if rank == 0 else queries[:0], 3)


def errors(rank: int, size: int) -> list[str]:
    """What this rank is told when only one of them is at fault."""
    whole = features(ROWS, 16, 1)
    diverged = whole.clone()
    diverged[3] = torch.nan
    queries = features(4, 16, 0)
    if rank == 0:
        queries[0, 0] = torch.inf
    messages = []
    for attempt in (
        lambda: split_bank(rank, size, diverged),
        lambda: split_bank(rank, size, whole).search(queries, 3),
        lambda: split_bank(rank, size, whole).search(queries, ROWS + 1),
    ):
        with pytest.raises(ValueError) as caught:
            attempt()
        messages.append(str(caught.value))
    return messages


def validate(folder: str, size: int, queries: int = 47, round_up: bool = True) -> dict:
    """The loop on 59 images and 47 queries, numbers that neither two nor four processes divide."""
    sampler = {"type": "DefaultSampler", "shuffle": False, "round_up": round_up}
    runner = build_runner(
        f"{folder}/{size}-{queries}",
        bank_dataloader=loader(59, seed=1, batch=4, noise=350),
        queries=loader(queries, seed=2, batch=3, noise=350) | {"sampler": sampler},
        k=[7, 20],
        temperature=[0.07, None],
    )
    loop, called = runner.val_loop, []
    call_hook = loop._call_hook
    loop._call_hook = lambda name, **kwargs: (called.append(name), call_hook(name, **kwargs))
    return {
        "metrics": loop.run(),
        "baselines": (loop.raw_pixel_accuracy(), loop.largest_class_share()),
        "batches": called.count("after_{}_iter"),
        "bank": collect_features(loop.bank_loader, embed_pixels)[1:],
    }


def everything(rank: int, size: int, folder: str) -> dict:
    os.chdir(folder)  # the host's metrics exchange files below the current folder
    return {
        "search": search(rank, size),
        "few": search_few(rank, size),
        "errors": errors(rank, size),
        "loop": validate(folder, size),
        "uneven": validate(folder, size, queries=13, round_up=False),
    }


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return validate(str(tmp_path_factory.mktemp("alone")), 1)


@pytest.fixture(scope="module", params=[2, 4])
def told(request, tmp_path_factory):
    return run_processes(everything, request.param, str(tmp_path_factory.mktemp("told")))


def test_a_split_bank_gives_the_neighbours_of_a_whole_one(told):
    similarity, rows = knn_topk(tied_features(QUERIES, 0), tied_features(ROWS, 1), K)
    assert torch.equal(torch.cat([part["search"][0] for part in told]), similarity)
    assert torch.equal(torch.cat([part["search"][1] for part in told]), 10 * rows)


def test_processes_without_images_or_queries_take_part(told):
    similarity, rows = knn_topk(features(5, 16, 0), features(3, 16, 1), 3)
    torch.testing.assert_close(told[0]["few"][0], similarity)
    assert torch.equal(told[0]["few"][1], 10 * rows)
    assert [part["few"][1].shape for part in told[1:]] == [(0, 3)] * (len(told) - 1)


def test_an_error_on_one_process_stops_all_with_the_same_numbers(told):
    bank, queries, k = told[0]["errors"]
    assert "bank: 1 of 45 feature rows" in bank
    assert f"queries: 1 of {4 * len(told)} feature rows" in queries
    assert "k = 46 neighbours, but the bank has 45 images" in k
    assert all(part["errors"] == told[0]["errors"] for part in told)


def test_the_loop_reports_the_same_metrics_on_every_process(told, alone):
    assert 20 < alone["metrics"]["accuracy/top1"] < 95  # neither chance nor certain
    for part in told:
        assert part["loop"]["metrics"] == alone["metrics"]
        assert part["loop"]["baselines"] == alone["baselines"]
        assert part["loop"]["batches"] == {2: 8, 4: 4}[len(told)]
    assert alone["batches"] == 16


def test_images_that_fill_up_the_last_round_do_not_enter_the_bank_twice(told):
    labels, places = (torch.cat([part["loop"]["bank"][i] for part in told]) for i in (0, 1))
    assert places.sort().values.tolist() == list(range(59))
    assert torch.equal(labels, places % 6)  # image i of the toy set is of class i mod 6


def test_a_process_that_runs_out_of_queries_helps_the_others_to_finish(told):
    batches = [part["uneven"]["batches"] for part in told]
    assert batches == {2: [3, 2], 4: [2, 1, 1, 1]}[len(told)]
    assert all(part["uneven"]["metrics"] == told[0]["uneven"]["metrics"] for part in told)
