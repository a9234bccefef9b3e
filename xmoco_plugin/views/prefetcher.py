# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch


class PreparedBatch(dict):
    """A batch that has been through the preprocessor, which lets it pass."""


class Prefetcher:
    """A loader whose batches come out of the preprocessor, the next one begun when asked for.

    With a stream, copy and views of a batch run on it while the default stream is still at the last
    step; that stream then waits for them, and the host for nothing. Between two batches nothing is
    held back, so a sampler, a seed or a view's size that changes between epochs counts from the
    first batch on. All else (``sampler``, ``dataset``, ...) is the loader's.

    Args:
        loader: whose batches they are.
        preprocessor: of mmengine's kind; called with ``training=True``.
        stream: of CUDA; None: the current one, and the same batches.
        seed_step: called with the number of a step before its batch goes through the preprocessor;
            None: random numbers go on as they are.
        iteration: number of the first step.
    """

    def __init__(
        self,
        loader: Iterable,
        preprocessor: Callable,
        stream=None,
        seed_step: Callable[[int], None] | None = None,
        iteration: int = 0,
    ) -> None:
        self.loader, self._seed_step, self._iteration = loader, seed_step, iteration
        self._preprocessor, self._stream = preprocessor, stream
        self._batches: Iterator = iter(())
        self._ready: PreparedBatch | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["loader"], name)

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[PreparedBatch]:
        if self._stream is not None:
            # Once: what the preprocessor and the data set keep on the device is there by then.
            self._stream.wait_stream(torch.cuda.current_stream())
        self._batches, self._ready = iter(self.loader), None
        while True:
            self.prepare()
            batch = self._take()
            if batch is None:
                return
            if self._stream is not None:
                current = torch.cuda.current_stream()
                current.wait_stream(self._stream)
                for view in _tensors(batch["inputs"]):
                    # Its memory goes back to the stream that made it when this one is done.
                    view.record_stream(current)
            yield batch

    def prepare(self) -> None:
        """Begin with the next batch, unless it has begun or there is none."""
        if self._ready is None:
            with torch.cuda.stream(self._stream):  # None: stays where it is
                data = next(self._batches, None)
                if data is not None:
                    if self._seed_step is not None:
                        self._seed_step(self._iteration)
                    self._iteration += 1
                    self._ready = PreparedBatch(self._preprocessor(data, training=True))

    def _take(self) -> PreparedBatch | None:
        batch, self._ready = self._ready, None
        return batch


def _tensors(inputs: Any) -> list[torch.Tensor]:
    return [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
