# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from itertools import islice

import torch
from mmengine.dist import get_world_size
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from mmpretrain.engine.hooks import PreciseBNHook

from ..distributed import unwrapped
from .averages import measure_anew, norms_that_follow


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
        norms = norms_that_follow(model)
        loader = runner.train_loop.dataloader
        batches = max(1, self.num_samples // (loader.batch_size * get_world_size()))
        measure_anew(
            norms,
            lambda data: model(**model.data_preprocessor(data, True), mode="loss"),
            islice(loader, batches),
        )
        runner.logger.info(
            f"Precise BN: {len(norms)} layers measured anew on {batches} batches of each process."
        )
