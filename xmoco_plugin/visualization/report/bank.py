# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from dataclasses import dataclass

import torch

from ..fixed_views import choose_images
from .attempt import NotDrawnError
from .network import Network

QUERIES, CLASSES = 20, 10


@dataclass
class Bank:
    """Images of a run with the features of one checkpoint.

    Attributes:
        indices: (M,) in the bank's dataset.
        labels: (M,) or [] where the set has none.
        features: (M, D), unit norm, on the CPU.
        queries: (Q,) indices in the queries' dataset, none of them in the bank.
        query_labels: (Q,) or [].
        query_features: (Q, D), unit norm.
    """

    indices: list[int]
    labels: list[int]
    features: torch.Tensor
    queries: list[int]
    query_labels: list[int]
    query_features: torch.Tensor

    @classmethod
    def collect(cls, network: Network, model: torch.nn.Module, images: int) -> "Bank":
        """Evenly chosen images of at most ten classes, and 20 queries of the same classes.

        Args:
            network: whose bank and queries are chosen from.
            model: that makes the features.
            images: of the bank, at most.
        """
        asked_for = QUERIES
        if not network.queries_apart:  # of few images, half are asked for among the others
            asked_for = min(QUERIES, len(network.bank.dataset) // 2)
        if not asked_for or not len(network.bank.dataset) or not len(network.queries.dataset):
            raise NotDrawnError(
                f"neighbours are looked for among other images, and the set has "
                f"{len(network.bank.dataset)}"
            )
        queries, query_labels = choose_images(network.queries.dataset, asked_for, CLASSES)
        indices, labels = choose_images(network.bank.dataset, images, CLASSES)
        if not network.queries_apart:
            asked = set(queries)
            kept = [place for place, index in enumerate(indices) if index not in asked]
            indices = [indices[place] for place in kept]
            labels = [labels[place] for place in kept] if labels else []
        if not indices:
            raise NotDrawnError(f"no image is left to look for neighbours in: --images {images}")
        return cls(
            indices,
            labels,
            network.features(model, network.bank, indices),
            queries,
            query_labels,
            network.features(model, network.queries, queries),
        )

    @property
    def labelled(self) -> bool:
        """Whether every image has a class."""
        return bool(self.labels and self.query_labels)
