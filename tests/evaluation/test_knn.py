# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier
from torch.utils._python_dispatch import TorchDispatchMode

from xmoco_plugin.evaluation.knn import (
    break_vote_ties,
    knn_topk,
    knn_votes,
    largest_class_share,
    merge_topk,
    stream_topk,
)


def features(rows: int, dim: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(rows, dim, generator=generator), dim=1)


def tied_features(rows: int, seed: int) -> torch.Tensor:
    """Unit rows with entries +-1/4: products are exact multiples of 1/8, so ties abound."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 2, (rows, 16), generator=generator) * 2 - 1) / 4


def slow_topk(queries: torch.Tensor, bank: torch.Tensor, k: int) -> list[list[int]]:
    similarity = (queries.double() @ bank.double().T).tolist()
    return [sorted(range(len(bank)), key=lambda m: (-row[m], m))[:k] for row in similarity]


def clustered(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bank, labels and queries of seven overlapping classes."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(7, 24, generator=generator)
    labels = torch.randint(0, 7, (400,), generator=generator)
    noise = torch.randn(400, 24, generator=generator)
    own = torch.randint(0, 7, (150,), generator=generator)
    queries = centres[own] + 2 * torch.randn(150, 24, generator=generator)
    return F.normalize(centres[labels] + 2 * noise, dim=1), labels, F.normalize(queries, dim=1)


class TestTopK:
    def test_neighbours_of_four_points_are_those_found_by_hand(self):
        bank = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]])
        similarity, rows = knn_topk(torch.tensor([[0.8, 0.6], [0.0, -1.0]]), bank, k=3)
        # (0.8, 0.6): 0.8, 0.6, -0.8, 0.96; (0, -1): 0, -1, 0, -0.8.
        assert rows.tolist() == [[3, 0, 1], [0, 2, 3]]
        expected = torch.tensor([[0.96, 0.8, 0.6], [0.0, 0.0, -0.8]])
        torch.testing.assert_close(similarity, expected)

    @pytest.mark.parametrize("bank_chunk", [1, 3, 64, 150, 10_000])
    @pytest.mark.parametrize("query_chunk", [1, 7, 1000])
    def test_chunks_change_nothing_even_among_ties(self, bank_chunk, query_chunk):
        queries, bank = tied_features(20, 0), tied_features(150, 1)
        whole = knn_topk(queries, bank, 11, bank_chunk=150, query_chunk=20)
        parts = knn_topk(queries, bank, 11, bank_chunk, query_chunk)
        assert torch.equal(whole[0], parts[0])
        assert torch.equal(whole[1], parts[1])

    @pytest.mark.parametrize("k", [1, 2, 11, 150])
    def test_ties_go_to_the_lower_row(self, k):
        queries, bank = tied_features(20, 0), tied_features(150, 1)
        assert knn_topk(queries, bank, k, bank_chunk=40)[1].tolist() == slow_topk(queries, bank, k)

    def test_a_collapsed_bank_gives_its_first_rows(self):
        bank = torch.full((90, 4), 0.5)
        assert knn_topk(bank[:3], bank, 5, bank_chunk=20)[1].tolist() == [[0, 1, 2, 3, 4]] * 3

    def test_random_features_agree_with_a_full_sort(self):
        queries, bank = features(30, 32, 3), features(500, 32, 4)
        _, rows = knn_topk(queries, bank, 20, bank_chunk=77, query_chunk=11)
        assert rows.tolist() == slow_topk(queries, bank, 20)

    def test_a_memory_mapped_half_precision_bank_is_read_in_chunks(self, tmp_path):
        bank = features(3000, 16, 5).half()
        np.save(tmp_path / "bank.npy", bank.numpy())
        mapped = torch.from_numpy(np.load(tmp_path / "bank.npy", mmap_mode="c"))
        similarity, rows = knn_topk(features(8, 16, 6), mapped, 9, bank_chunk=128)
        whole = knn_topk(features(8, 16, 6), bank.float(), 9)
        assert similarity.dtype == torch.float32
        torch.testing.assert_close(similarity, whole[0], rtol=0, atol=1e-6)
        assert torch.equal(rows, whole[1])

    def test_no_tensor_grows_beyond_the_chunks(self):
        seen = LargestTensor()
        queries, bank, k = features(60, 8, 0), features(1500, 8, 1).half(), 10
        with seen:
            stream_topk(queries, bank, k, bank_chunk=100, query_chunk=20)
        # 20 x (100 + 2k) similarities with candidates, a 100 x 8 copy, the answer of 200 x k.
        assert seen.largest <= max(20 * 120, 100 * 8, 200 * k)

    def test_products_stay_float32_under_autocast(self):
        queries, bank = features(5, 64, 0), features(50, 64, 1)
        plain = knn_topk(queries, bank, 4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = knn_topk(queries, bank, 4)
        assert torch.equal(plain[0], inside[0])

    def test_inputs_are_unchanged_and_no_gradient_is_kept(self):
        queries, bank = features(5, 8, 0).requires_grad_(), features(50, 8, 1)
        before = queries.detach().clone(), bank.clone()
        similarity, _ = knn_topk(queries, bank, 4, bank_chunk=7)
        assert not similarity.requires_grad
        assert torch.equal(queries.detach(), before[0])
        assert torch.equal(bank, before[1])

    def test_no_queries_give_no_neighbours(self):
        similarity, rows = knn_topk(torch.empty(0, 8), features(50, 8, 1), 4)
        assert similarity.shape == rows.shape == (0, 4)

    def test_merging_keeps_the_best_of_two_lists(self):
        similarity = torch.tensor([[0.9, 0.5, 0.9, 0.5]])
        best, rows = merge_topk(similarity, torch.tensor([[7, 3, 2, 1]]), 3)
        assert rows.tolist() == [[2, 7, 1]]
        torch.testing.assert_close(best, torch.tensor([[0.9, 0.9, 0.5]]))


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"k": 51}, "k = 51 neighbours, but the bank has 50 images"),
            ({"k": 0}, "choose k from 1 to 50"),
            ({"bank": torch.empty(0, 8)}, "the bank is empty"),
            ({"queries": torch.zeros(3, 9)}, "queries have 9 dimensions, the bank has 8"),
            ({"queries": torch.zeros(3)}, r"features must be \(rows, D\)"),
            ({"bank_chunk": 0}, "at least one row, not 0 and 1024"),
        ],
    )
    def test_impossible_requests_name_their_numbers(self, change, message):
        arguments = {"queries": features(3, 8, 0), "bank": features(50, 8, 1), "k": 4} | change
        with pytest.raises(ValueError, match=message):
            knn_topk(**arguments)

    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    @pytest.mark.parametrize("where", ["queries", "bank"])
    def test_rows_that_are_not_finite_are_counted(self, bad, where):
        arguments = {"queries": features(30, 8, 0), "bank": features(50, 8, 1)}
        arguments[where][[2, 9, 9, 11], [0, 1, 2, 3]] = bad
        with pytest.raises(ValueError, match=rf"{where}: 3 of (30|50) feature rows hold NaN"):
            knn_topk(**arguments, k=4)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"labels": torch.tensor([[0, 3]])}, "labels run from 0 to 3, but 3 classes allow 0"),
            ({"labels": torch.tensor([[-1, 2]])}, "labels run from -1 to 2"),
            ({"labels": torch.tensor([0, 1])}, r"must both be \(Q, k\)"),
            ({"temperature": 0.0}, "temperature must be above 0 or None, not 0.0"),
            ({"temperature": math.nan}, "temperature must be above 0"),
        ],
    )
    def test_impossible_votes_name_their_numbers(self, change, message):
        arguments = {
            "similarity": torch.tensor([[0.9, 0.1]]),
            "labels": torch.tensor([[0, 1]]),
            "num_classes": 3,
            "temperature": 0.1,
        }
        with pytest.raises(ValueError, match=message):
            knn_votes(**(arguments | change))


class TestVotes:
    SIMILARITY = torch.tensor([[1.0, 0.9, 0.8]], dtype=torch.float64)
    LABELS = torch.tensor([[2, 0, 0]])

    def test_weighted_votes_are_those_computed_by_hand(self):
        votes = knn_votes(self.SIMILARITY, self.LABELS, 4, temperature=0.2)
        # Weights relative to the first: e^0, e^-0.5, e^-1 = 1, 0.606531, 0.367879; sum 1.974410.
        exact = torch.tensor([[0.493520, 0.0, 0.506480, 0.0]], dtype=torch.float64)
        torch.testing.assert_close(votes, exact, rtol=0, atol=1e-6)

    def test_without_temperature_every_neighbour_has_one_vote(self):
        votes = knn_votes(self.SIMILARITY, self.LABELS, 4, temperature=None)
        exact = torch.tensor([[2 / 3, 0, 1 / 3, 0]], dtype=torch.float64)
        torch.testing.assert_close(votes, exact)

    def test_the_temperature_decides_between_one_near_and_two_far_neighbours(self):
        winners = [
            int(knn_votes(self.SIMILARITY, self.LABELS, 4, t).argmax()) for t in (0.05, 5.0, None)
        ]
        assert winners == [2, 0, 0]

    def test_tiny_temperatures_do_not_overflow(self):
        votes = knn_votes(self.SIMILARITY.float(), self.LABELS, 4, temperature=1e-6)
        torch.testing.assert_close(votes, torch.tensor([[0.0, 0, 1, 0]], dtype=torch.float64))

    def test_a_smaller_k_is_the_front_of_a_larger_one(self):
        queries, bank = features(9, 16, 0), features(60, 16, 1)
        long, short = knn_topk(queries, bank, 30), knn_topk(queries, bank, 7)
        assert torch.equal(long[0][:, :7], short[0])
        assert torch.equal(long[1][:, :7], short[1])

    def test_equal_votes_order_by_class_and_others_keep_their_order(self):
        votes = torch.tensor([[0.2, 0.3, 0.0, 0.3, 0.2], [0.1, 0.2, 0.3, 0.4, 0.0]])
        scores = break_vote_ties(votes)
        assert scores.argsort(dim=1, descending=True).tolist()[0][:4] == [1, 3, 0, 4]
        assert torch.equal(scores[1], votes[1])
        torch.testing.assert_close(scores, votes)
        assert (scores >= 0).all()
        assert len(scores[0].unique()) == 5

    def test_a_constant_answer_scores_the_largest_class(self):
        assert largest_class_share(torch.tensor([3, 1, 3, 0])) == 50.0
        with pytest.raises(ValueError, match="the set is empty"):
            largest_class_share(torch.tensor([], dtype=torch.int64))


class TestAgainstScikitLearn:
    @pytest.mark.parametrize("k", [1, 5, 20])
    @pytest.mark.parametrize("temperature", [0.07, 0.5])
    def test_weighted_votes_agree(self, k, temperature):
        bank, labels, queries = clustered(0)
        similarity, rows = knn_topk(queries, bank, k, bank_chunk=90)
        votes = knn_votes(similarity, labels[rows], 7, temperature)
        judge = KNeighborsClassifier(
            k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / temperature)
        )
        judge.fit(bank.double().numpy(), labels.numpy())
        expected = judge.predict_proba(queries.double().numpy())
        np.testing.assert_allclose(votes.numpy(), expected, rtol=0, atol=2e-5)

    def test_majority_votes_and_their_ties_agree(self):
        bank, labels, queries = clustered(1)
        similarity, rows = knn_topk(queries, bank, 6)
        votes = knn_votes(similarity, labels[rows], 7, None)
        judge = KNeighborsClassifier(6, metric="cosine", weights="uniform")
        judge.fit(bank.double().numpy(), labels.numpy())
        top = votes.sort(dim=1, descending=True).values
        assert (top[:, 0] == top[:, 1]).sum() > 10  # ties there are, and both take the lower class
        predicted = break_vote_ties(votes).argmax(dim=1)
        assert predicted.tolist() == judge.predict(queries.double().numpy()).tolist()


class LargestTensor(TorchDispatchMode):
    """Notes the most elements that any tensor made inside it holds."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for output in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(output, torch.Tensor):
                self.largest = max(self.largest, output.numel())
        return result
