# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from functools import partial

import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from ..distributed import unwrapped
from ..views import Prefetcher, TwoViewDataPreprocessor
from .exact_resume_hook import exact_resume


@HOOKS.register_module()
class PrefetchHook(Hook):
    """Copies the next batch to the GPU and makes its views there while the step runs.

    The loop's loader is replaced by a ``Prefetcher`` around it. The next batch is begun right after
    a step was handed to the device and before anything else: mmengine's own hooks then read the
    logged losses, where the host waits for the step. Without a GPU the hook does nothing. The
    batches are those of the loader, in its order, from the same random numbers. While training,
    the hooks' ``data_batch`` holds the two views.

    Raises:
        ValueError: before training, for a loop or a preprocessor that this cannot be done with.
    """

    priority = "HIGHEST"

    def __init__(self) -> None:
        self._prefetcher: Prefetcher | None = None

    def before_train(self, runner: Runner) -> None:
        """Replace the loader."""
        preprocessor = unwrapped(runner.model).data_preprocessor
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                f"PrefetchHook needs an EpochBasedTrainLoop, got {type(runner.train_loop).__name__}"
                ": take the hook out of custom_hooks, or train by epochs"
            )
        if not isinstance(preprocessor, TwoViewDataPreprocessor):
            raise ValueError(
                "PrefetchHook makes views on the device and needs a TwoViewDataPreprocessor, got "
                f"{type(preprocessor).__name__}: take the hook out of custom_hooks, or make the "
                "views there (configs/xmoco_r50_8xb32_deviceviews.py)"
            )
        device = next(runner.model.parameters()).device
        if device.type == "cuda":
            self.replace_loader(runner, torch.cuda.Stream(device))
        else:
            runner.logger.info(f"PrefetchHook: nothing to overlap on {device.type}")

    def replace_loader(self, runner: Runner, stream: torch.cuda.Stream | None) -> None:
        """Put the prefetcher in the loader's place; without a stream it overlaps nothing."""
        loop = runner.train_loop
        preprocessor = unwrapped(runner.model).data_preprocessor
        exact = exact_resume(runner)
        seed_step = None if exact is None else partial(exact.seed_step, runner)
        self._prefetcher = loop.dataloader = Prefetcher(
            loop.dataloader, preprocessor, stream, seed_step, runner.iter
        )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Begin with the next batch."""
        if self._prefetcher is not None:
            self._prefetcher.prepare()

    def after_train(self, runner: Runner) -> None:
        """Put the loader back."""
        if self._prefetcher is not None:
            runner.train_loop.dataloader = self._prefetcher.loader
            self._prefetcher = None
