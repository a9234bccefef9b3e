# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which tensors that an operation made still hold memory, whoever holds them."""

import time

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveTensors(TorchDispatchMode):
    """Watches what is made inside it, without keeping any of it alive.

    By storage, not by Python object: views share one, and c10d's work holds tensors in C++.

    Args:
        shape: of the tensors to watch.
    """

    def __init__(self, shape: torch.Size) -> None:
        super().__init__()
        self.shape = shape
        self.peak = 0  # most that were alive at once
        self._made: dict[int, StorageWeakRef] = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        # An operation in place, or a view, gives back a storage that was there before.
        given = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
        result = function(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if tensor.shape == self.shape and storage._cdata not in given:
                self._made[storage._cdata] = StorageWeakRef(storage)
        self.peak = max(self.peak, self.alive())
        return result

    def alive(self) -> int:
        """How many of them still hold their memory."""
        return sum(not storage.expired() for storage in self._made.values())

    def settled(self, at_most: int, patience: float = 5.0) -> int:
        """``alive``, when so few are or patience ends: gloo's threads let go a little after wait.

        Args:
            at_most: how many are expected.
            patience: seconds.
        """
        end = time.monotonic() + patience
        while self.alive() > at_most and time.monotonic() < end:
            time.sleep(0.01)
        return self.alive()


def _tensors(values) -> list[torch.Tensor]:
    return [v for v in tree_leaves(values) if isinstance(v, torch.Tensor)]
