# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from dataclasses import dataclass

import torch

from ..distributed import RowExchange, exchange_rows, world


@dataclass(frozen=True)
class ShufflePlan:
    """Which image of the global batch goes where, and back (shuffle-BN, arXiv 1911.05722, 3.3).

    Each rank sends and receives one batch in total, in one all-to-all, where gathering everything
    would hand every rank R batches. All index arithmetic is on the host, so that nothing waits for
    the device.

    Args:
        send: (n,), local images sorted by the rank that they go to.
        send_counts: images for each rank.
        place: (n,), where the received images, sorted by source rank, belong.
        receive_counts: images from each rank.
    """

    send: torch.Tensor
    send_counts: list[int]
    place: torch.Tensor
    receive_counts: list[int]

    @classmethod
    def from_permutation(cls, permutation: torch.Tensor) -> "ShufflePlan":
        """Plan of this rank.

        Args:
            permutation: (R * n,) int64 on the CPU, the same on all R ranks: place p of the
                shuffled global batch gets image permutation[p], in the order of the ranks.
        """
        rank, size = world()
        n = len(permutation) // size
        source = permutation.div(n, rounding_mode="floor")  # rank that holds the image of a place
        own = (source == rank).nonzero().flatten()  # places that get an image of this rank
        here = source[rank * n : (rank + 1) * n]  # source of each place of this rank
        return cls(
            send=permutation[own] - rank * n,
            send_counts=own.div(n, rounding_mode="floor").bincount(minlength=size).tolist(),
            place=here.argsort(stable=True),
            receive_counts=here.bincount(minlength=size).tolist(),
        )

    @classmethod
    def draw(cls, n: int, seed: int) -> "ShufflePlan":
        """A random plan for n images per rank; every rank must pass the same seed.

        On one process the permutation comes from torch's default generator, as mmpretrain's MoCo
        draws it, so that both see the same random numbers afterwards.
        """
        _, size = world()
        if size == 1:
            return cls.from_permutation(torch.randperm(n))
        generator = torch.Generator().manual_seed(seed)
        return cls.from_permutation(torch.randperm(size * n, generator=generator))

    def begin_shuffle(self, images: torch.Tensor) -> "ShuffledImages":
        """(n, ...) images of this rank -> the (n, ...) that the plan gives it, on their way."""
        return ShuffledImages(self, images)

    @torch.no_grad()
    def unshuffle(self, features: torch.Tensor) -> torch.Tensor:
        """(n, ...) features of shuffled images -> those of this rank's images, in their order."""
        self.check(features)
        ordered = features[_beside(self.place, features)]
        received = exchange_rows(ordered, self.receive_counts, self.send_counts)
        return _placed(received, self.send)

    def check(self, rows: torch.Tensor) -> None:
        """Raises ValueError unless there are as many rows as the plan is for."""
        if len(rows) != len(self.send):
            raise ValueError(f"the plan is for {len(self.send)} images per rank, got {len(rows)}")


class ShuffledImages:
    """Images on their way to where a plan has them, without gradient.

    Args:
        plan: of this rank.
        images: (n, ...) of this rank.
    """

    @torch.no_grad()
    def __init__(self, plan: ShufflePlan, images: torch.Tensor) -> None:
        plan.check(images)
        self.plan = plan
        ordered = images[_beside(plan.send, images)]
        self._exchange: RowExchange | None = RowExchange(
            ordered, plan.send_counts, plan.receive_counts
        )

    @torch.no_grad()
    def arrived(self) -> torch.Tensor:
        """(n, ...) images that the plan gives this rank; waits for them, and keeps none of them.

        Raises:
            RuntimeError: on a second call.
        """
        if self._exchange is None:
            raise RuntimeError("these images have been handed over: keep them, or shuffle again")
        exchange, self._exchange = self._exchange, None
        return _placed(exchange.wait(), self.plan.place)


def _placed(rows: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    moved = torch.empty_like(rows)
    moved[_beside(place, rows)] = rows
    return moved


def _beside(index: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The index on the rows' device. From pinned memory: an ordinary copy waits for the device."""
    return index.pin_memory().to(rows.device, non_blocking=True) if rows.is_cuda else index
