# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .backbone_arrival_hook import BackboneArrivalHook
from .best_export_hook import BestExportHook
from .checkpoint_guard_hook import CheckpointGuardHook
from .exact_resume_hook import ExactResumeHook
from .first_batch_hook import FirstBatchHook
from .fresh_averages_hook import FreshAveragesHook
from .health_hook import HealthHook
from .healthy_export_hook import HealthyExportHook
from .loss_warmup_hook import LossWarmupHook
from .lower_rate_hook import LowerRateHook
from .nonfinite_loss_hook import NonFiniteLossError, NonFiniteLossHook
from .opening_hook import OpeningHook
from .prefetch_hook import PrefetchHook
from .preflight_hook import PreflightHook
from .progress_hook import ProgressHook
from .progressive_size_hook import ProgressiveSizeHook
from .resumed_hook import ResumedHook
from .run_summary_hook import RunSummaryHook
from .same_everywhere_hook import OthersUnlikeError, SameEverywhereHook
from .skipped_images_hook import SkippedImagesHook
from .stop_when_worse_hook import StopWhenWorseHook
from .teacher_hook import TeacherHook
from .timed_checkpoint_hook import StopRequested, TimedCheckpointHook
from .train_mode_precise_bn_hook import TrainModePreciseBNHook
from .whole_checkpoint_hook import WholeCheckpointHook

__all__ = [
    "BackboneArrivalHook",
    "BestExportHook",
    "CheckpointGuardHook",
    "ExactResumeHook",
    "FirstBatchHook",
    "FreshAveragesHook",
    "HealthHook",
    "HealthyExportHook",
    "LossWarmupHook",
    "LowerRateHook",
    "NonFiniteLossError",
    "NonFiniteLossHook",
    "OpeningHook",
    "OthersUnlikeError",
    "PrefetchHook",
    "PreflightHook",
    "ProgressHook",
    "ProgressiveSizeHook",
    "ResumedHook",
    "RunSummaryHook",
    "SameEverywhereHook",
    "SkippedImagesHook",
    "StopRequested",
    "StopWhenWorseHook",
    "TeacherHook",
    "TimedCheckpointHook",
    "TrainModePreciseBNHook",
    "WholeCheckpointHook",
]
