# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from itertools import islice

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmpretrain.engine.hooks import PreciseBNHook
from torch.nn.modules.batchnorm import _BatchNorm

from ..distributed import unwrapped


# In the root registry: mmdet and mmseg look there after their own, and never in mmpretrain's.
@HOOKS.register_module()
class TrainModePreciseBNHook(PreciseBNHook):
    """Measures the BatchNorm statistics anew on training batches, run as in training.

    mmpretrain's hook, whose arguments these are, runs the model in mode 'tensor'. A two-stage
    detector then feeds its box head with proposals as in testing, a thousand an image, while the
    head has learnt on sampled ones. Here the batches go through mode 'loss', without gradients.

    Args:
        num_samples: Images to average over, all processes together. Defaults to 8192.
        interval: Every so many epochs or iterations, whichever the training loop counts.
    """

    @torch.no_grad()
    def _perform_precise_bn(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.training]
        norms = [norm for norm in norms if norm.track_running_stats]
        loader = runner.train_loop.dataloader
        batches = max(1, self.num_samples // (loader.batch_size * get_world_size()))
        kept = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # torch then averages over all batches alike
        for data in islice(loader, batches):
            model(**model.data_preprocessor(data, True), mode="loss")
        for norm, (momentum, tracked) in zip(norms, kept, strict=True):
            for statistic in (norm.running_mean, norm.running_var):
                all_reduce(statistic, op="mean")
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(tracked)
        runner.logger.info(
            f"Precise BN: {len(norms)} layers measured anew on {batches} batches of each process."
        )
