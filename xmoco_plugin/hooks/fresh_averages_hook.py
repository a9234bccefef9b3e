# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Iterator

import torch
from mmengine.dist import get_dist_info
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..distributed import unwrapped
from ..evaluation import evaluation_mode
from ..log_detail import DETAIL
from ..visualization import fixed_inputs, spread_images
from .averages import measure_anew, norms_that_follow

ARRIVED = 10  # e^-10 of what the averages began with is left (ours)


@HOOKS.register_module()
class FreshAveragesHook(Hook):
    """Measures the averages of a backbone's BatchNorm anew before the first checkpoints of a run.

    Those averages are what BatchNorm normalizes by in evaluation mode: for kNN, for the figures of
    a checkpoint, and in whatever loads ``backbone.pth``. They begin at 0 and 1 and take a share of
    each batch, mostly a tenth. A deep network shrinks its signal layer by layer by averages that
    have not arrived, until all images look alike to it. After ten times as many iterations as a
    share goes into 1, a hundred mostly, they have, and a new measurement changes nothing that
    could be measured (docs/lab/results.md).

    No weight is changed, and nothing that the run draws is disturbed: the images and their views
    are the same each time. Layers that do not follow, such as those of ``norm_eval``, are let be.

    Args:
        images: Training images to average over, all processes together: whole batches, at least
            one a process. Default 256.
        interval: Every so many epochs; after the last one too. Default 1.
        seed: Of the views.
    """

    priority = "ABOVE_NORMAL"  # before checkpoints

    def __init__(self, images: int = 256, interval: int = 1, seed: int = 0) -> None:
        if images < 1 or interval < 1:
            raise ValueError(f"images and interval must be at least 1, got {images}, {interval}")
        self.images, self.interval, self.seed = images, interval, seed
        self._said = False

    def after_train_epoch(self, runner: Runner) -> None:
        due = self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)
        if not due:
            return
        backbone = getattr(unwrapped(runner.model), "backbone", None)
        norms = [] if backbone is None else norms_that_follow(backbone)
        arrived = max((ARRIVED / (norm.momentum or 1e-9) for norm in norms), default=0)
        if runner.iter >= arrived:  # a momentum of None is an average over all that has been
            return
        with evaluation_mode(backbone):
            for norm in norms:
                norm.train()
            batches = measure_anew(norms, backbone, self._views(runner))
        if not batches:  # fewer images than a step has
            return
        size = runner.train_dataloader.batch_size * get_dist_info()[1]
        runner.logger.info(
            f"averages: those of {len(norms)} BatchNorm layers lag behind {runner.iter:,} "
            f"iterations, so they were measured anew on {batches * size:,} training images. "
            "No weight was changed",
            extra=DETAIL if self._said else None,
        )
        self._said = True

    def _views(self, runner: Runner) -> Iterator[torch.Tensor]:
        """The first views of this process's part, a training batch at a time."""
        loader, (rank, processes) = runner.train_dataloader, get_dist_info()
        size, model = loader.batch_size, unwrapped(runner.model)
        whole = max(min(self.images, len(loader.dataset)) // (size * processes), 1)
        chosen = spread_images(loader.dataset, whole * size * processes)
        # Mixed: a set is sorted by class where there are classes.
        order = torch.randperm(len(chosen), generator=torch.Generator().manual_seed(self.seed))
        mine = [chosen[i] for i in order.tolist()][rank::processes]
        for number in range(len(chosen) // processes // size):  # as many in each process
            part = mine[number * size : (number + 1) * size]
            views = fixed_inputs(loader, model, part, self.seed + number)
            yield views if isinstance(views, torch.Tensor) else views[0]
