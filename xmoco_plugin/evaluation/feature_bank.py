# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch

from ..distributed import exchange_rows, gather_rows, world
from .features import LabelledFeatures
from .knn import check_finite_rows, check_k, count_bad_rows, merge_topk, stream_topk


class FeatureBank:
    """Labelled features that stay split over the ranks, searched by all ranks together.

    Every rank searches its own part for the queries of all ranks; one all-to-all brings each rank
    the candidates for its own queries. Only queries, candidates and labels travel, never the bank.
    Building and searching are collective; one process and several give the same neighbours.

    Args:
        part: this rank's features, labels and their places in the whole bank.
        device: where the search runs, and where NCCL wants its messages.
        bank_chunk, query_chunk: see `knn_topk`.

    Raises:
        ValueError: on every rank, if the bank is empty or has rows that are not finite.
    """

    def __init__(
        self,
        part: LabelledFeatures,
        device: torch.device | str = "cpu",
        bank_chunk: int = 16384,
        query_chunk: int = 1024,
    ) -> None:
        self.device = torch.device(device)
        self.bank_chunk, self.query_chunk = bank_chunk, query_chunk
        bad = count_bad_rows(part.features)
        facts = torch.tensor([[len(part.features), part.features.shape[1], bad]])
        facts = gather_rows(facts.to(self.device)).cpu()  # (R, 3)
        self.rows, bad = int(facts[:, 0].sum()), int(facts[:, 2].sum())
        self.dim = int(facts[:, 1].max())
        check_k(1, self.rows)
        check_finite_rows(bad, self.rows, "bank")
        # A rank without images has not seen D.
        self.features = part.features.reshape(len(part.features), self.dim)
        self.places = part.places.to(self.device)
        self.labels = self._gather_labels(part, facts[:, 0].tolist())  # (M,), int64

    def _gather_labels(self, part: LabelledFeatures, counts: list[int]) -> torch.Tensor:
        """Every rank's labels, by place: at 8 bytes an image they may be whole on every rank."""
        mine = torch.stack([part.places, part.labels], dim=1).to(self.device)  # (m, 2)
        table = _real_rows(gather_rows(_padded(mine, max(counts))), counts)
        labels = torch.full((int(table[:, 0].max()) + 1,), -1, device=self.device)
        labels[table[:, 0]] = table[:, 1]
        return labels

    def search(self, queries: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The k nearest of the whole bank for this rank's queries; collective.

        Args:
            queries: (n, D), unit norm; n may differ between ranks and be 0.
            k: 1 <= k <= images in the bank.

        Returns:
            Similarities (n, k), float32, falling, equal ones by place, and labels (n, k).

        Raises:
            ValueError: on every rank: k outside the bank, other D, rows that are not finite.
        """
        check_k(k, self.rows)
        own, size = len(queries), world()[1]
        if own and queries.shape[1] != self.dim:
            raise ValueError(
                f"queries have {queries.shape[1]} dimensions, the bank has {self.dim}: "
                "both must come from the same model and layer"
            )
        queries = queries.to(self.device).reshape(own, self.dim)
        counts = gather_rows(torch.tensor([own], device=self.device)).tolist()
        most = max(counts)
        everyone = gather_rows(_padded(queries, most))  # (R * most, D)
        # The gathered rows, so that all ranks stop together.
        check_finite_rows(count_bad_rows(everyone), sum(counts), "queries")
        similarity, rows = stream_topk(
            everyone, self.features, min(k, len(self.features)), self.bank_chunk, self.query_chunk
        )
        places = self.places[rows]
        if size > 1:
            # A part smaller than k offers fillers that lose against every real candidate.
            similarity = _padded(similarity, k, dim=1, value=-torch.inf)
            places = _padded(places, k, dim=1, value=len(self.labels))
            similarity = self._bring_home(similarity, most, own)
            places = self._bring_home(places, most, own)
        # Places rise with rows within a part but interleave between parts: merging orders ties.
        similarity, places = merge_topk(similarity, places, k)
        return similarity, self.labels[places]

    @staticmethod
    def _bring_home(candidates: torch.Tensor, most: int, own: int) -> torch.Tensor:
        """(R * most, k), this rank's finds for all -> (own, R * k), all ranks' finds for this."""
        size, k = world()[1], candidates.shape[1]
        received = exchange_rows(candidates, [most] * size, [most] * size)
        return received.view(size, most, k).transpose(0, 1).reshape(most, size * k)[:own]


def _padded(rows: torch.Tensor, length: int, dim: int = 0, value: float = 0) -> torch.Tensor:
    """Fillers appended along a dimension up to a length."""
    shape = list(rows.shape)
    shape[dim] = length - shape[dim]
    return torch.cat([rows, rows.new_full(shape, value)], dim=dim)


def _real_rows(gathered: torch.Tensor, counts: list[int]) -> torch.Tensor:
    """Rows of all ranks without the fillers each rank had appended to its own."""
    parts = gathered.view(len(counts), -1, *gathered.shape[1:])
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
