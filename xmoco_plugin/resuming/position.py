# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Mapping
from typing import Any, NamedTuple

KEY = "position"  # of it in a checkpoint


class Position(NamedTuple):
    """Where in the data a checkpoint was written.

    Attributes:
        batches: Of each process that are behind: in the epoch, or in a run without epochs.
        batch_size: Images of a batch.
        processes: That trained together.
        order: Seed of the sampler's order; None for a sampler that has none.
        extra: Images of each process that are behind beside those batches: an earlier part of the
            run made others.
        numbered: Whether the images have numbers, by which what is drawn for them is told.
    """

    batches: int = 0
    batch_size: int = 0
    processes: int = 1
    order: int | None = None
    extra: int = 0
    numbered: bool = True

    @classmethod
    def of(cls, checkpoint: Mapping[str, Any]) -> "Position | None":
        """What a checkpoint says; None where it says nothing that can be followed."""
        found = checkpoint.get(KEY)
        if not isinstance(found, Mapping):
            return None
        numbers = [found.get(name) for name in ("batches", "batch_size", "processes")]
        whole = [n for n in numbers if type(n) is int and n >= 0]
        if len(whole) < len(numbers) or not whole[2]:
            return None
        order, extra = found.get("order"), found.get("extra")
        return cls(
            whole[0],
            whole[1],
            whole[2],
            order if type(order) is int else None,
            extra if type(extra) is int and extra >= 0 else 0,
            found.get("numbered") is not False,
        )

    @property
    def images(self) -> int:
        """That all processes together have behind them."""
        return (self.batches * self.batch_size + self.extra) * self.processes

    def batches_for(self, batch_size: int, processes: int) -> int:
        """Batches that are behind where others are made: the last one may be cut."""
        if (batch_size, processes) == (self.batch_size, self.processes):
            return self.batches
        return self.images // max(batch_size * processes, 1)

    def skip_for(self, batch_size: int, processes: int) -> int:
        """Images that each of so many processes leaves out."""
        if (batch_size, processes) == (self.batch_size, self.processes):
            return self.batches * batch_size + self.extra
        return self.images // processes
