# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from dataclasses import dataclass

import torch

from ..distributed import exchange_rows, world


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

    def shuffle(self, images: torch.Tensor) -> torch.Tensor:
        """(n, ...) images of this rank -> the (n, ...) that the plan gives it, without gradient."""
        return _move(images, self.send, self.send_counts, self.place, self.receive_counts)

    def unshuffle(self, features: torch.Tensor) -> torch.Tensor:
        """(n, ...) features of shuffled images -> those of this rank's images, in their order."""
        return _move(features, self.place, self.receive_counts, self.send, self.send_counts)


@torch.no_grad()
def _move(
    rows: torch.Tensor,
    send: torch.Tensor,
    send_counts: list[int],
    place: torch.Tensor,
    receive_counts: list[int],
) -> torch.Tensor:
    if len(rows) != len(send):
        raise ValueError(f"the plan is for {len(send)} images per rank, got {len(rows)}")
    received = exchange_rows(rows[_beside(send, rows)], send_counts, receive_counts)
    moved = torch.empty_like(received)
    moved[_beside(place, rows)] = received
    return moved


def _beside(index: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
    """The index on the rows' device. From pinned memory: an ordinary copy waits for the device."""
    return index.pin_memory().to(rows.device, non_blocking=True) if rows.is_cuda else index
