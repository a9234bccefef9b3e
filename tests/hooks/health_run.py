# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A tiny run under HealthHook, and the names of the numbers that it has."""

from .. import tiny_runner

PREPROCESSOR = dict(type="SelfSupDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3)
OF_ITS_BATCH = {
    "pos_sim_mean", "pos_sim_std", "neg_sim_mean", "neg_sim_std", "nce_uninformed", "nce_ratio",
    "dim_std", "effective_rank", "alignment", "uniformity_wi", "asymmetry", "neg_entropy",
}  # fmt: skip
ALL = OF_ITS_BATCH | {
    "queue_fill", "queue_age_steps", "queue_age_epochs", "ema_distance", "grad_norm"
}  # fmt: skip


def build(folder, epochs=2, health=None, hooks=(), **options):
    """A tiny run, 4 iterations of 4 images an epoch, looked at every second."""
    hook = dict(type="HealthHook", interval=2) | (health or {})
    options = dict(train_cfg=dict(by_epoch=True, max_epochs=epochs)) | options
    return tiny_runner.build(folder, hooks=[hook, *hooks], **options)
