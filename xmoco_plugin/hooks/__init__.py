# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .backbone_arrival_hook import BackboneArrivalHook
from .checkpoint_guard_hook import CheckpointGuardHook
from .health_hook import HealthHook
from .loss_warmup_hook import LossWarmupHook
from .nonfinite_loss_hook import NonFiniteLossError, NonFiniteLossHook
from .preflight_hook import PreflightHook
from .progress_hook import ProgressHook
from .run_summary_hook import RunSummaryHook
from .skipped_images_hook import SkippedImagesHook
from .train_mode_precise_bn_hook import TrainModePreciseBNHook

__all__ = [
    "BackboneArrivalHook",
    "CheckpointGuardHook",
    "HealthHook",
    "LossWarmupHook",
    "NonFiniteLossError",
    "NonFiniteLossHook",
    "PreflightHook",
    "ProgressHook",
    "RunSummaryHook",
    "SkippedImagesHook",
    "TrainModePreciseBNHook",
]
