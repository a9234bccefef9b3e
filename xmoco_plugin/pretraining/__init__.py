# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""From a folder of images to a run: sources, scan, choices, config, and what a run hands on."""

from .advice import better_start, outlook
from .backbones import (
    VIT_SMALL,
    backbone_config,
    backbone_weights,
    check_image_size,
    is_mocov3_vit,
    is_resnet,
    probe,
)
from .channel_config import take_channels
from .channel_scan import ChannelPlan, few_of_channels, one_kind
from .choices import Chooser
from .chosen import Choices, Facts
from .errors import PretrainError
from .families import reasons
from .first_weights import first_weights
from .hand_over import hand_over
from .image_list import compare_with_list, trained_on, write_list
from .interrupted import remove_temporary, set_aside
from .memory import StepCost, free_memory, measure_step
from .model_parts import chosen_backbone
from .numbers import check_numbers
from .offered import Offered, look_into
from .run_config import (
    RUNNER_KEYS,
    base_config,
    check_labels,
    knn_sets,
    model_config,
    run_config,
    unfit_for_configs,
)
from .run_folder import (
    ANOTHER,
    RunSettings,
    check_files,
    epoch_of,
    judged,
    last_verdict,
    move_texts,
    moved_paths,
    run_settings,
)
from .run_lock import LOCK, RunLock
from .scan import Scan, describe, scan_images
from .scan_checks import check_number, check_readable, overlap
from .scan_shards import scan_shards
from .sources import check_source, is_archive, is_shards, list_images
from .start import STOPPED, go_on_anyway, handed_over, stopped
from .survey import survey_images, survey_labels, survey_npz
from .teaching import TeacherChooser, teacher_model_config, with_teacher
from .tiles import check_sides, describe_reading, reading_of

__all__ = [
    "ANOTHER",
    "LOCK",
    "RUNNER_KEYS",
    "STOPPED",
    "VIT_SMALL",
    "ChannelPlan",
    "Choices",
    "Chooser",
    "Facts",
    "Offered",
    "PretrainError",
    "RunLock",
    "RunSettings",
    "Scan",
    "StepCost",
    "TeacherChooser",
    "backbone_config",
    "backbone_weights",
    "base_config",
    "better_start",
    "check_files",
    "check_image_size",
    "check_labels",
    "check_number",
    "check_numbers",
    "check_readable",
    "check_sides",
    "check_source",
    "chosen_backbone",
    "compare_with_list",
    "describe",
    "describe_reading",
    "epoch_of",
    "few_of_channels",
    "first_weights",
    "free_memory",
    "go_on_anyway",
    "hand_over",
    "handed_over",
    "is_archive",
    "is_mocov3_vit",
    "is_resnet",
    "is_shards",
    "judged",
    "knn_sets",
    "last_verdict",
    "list_images",
    "look_into",
    "measure_step",
    "model_config",
    "move_texts",
    "moved_paths",
    "one_kind",
    "outlook",
    "overlap",
    "probe",
    "reading_of",
    "reasons",
    "remove_temporary",
    "run_config",
    "run_settings",
    "scan_images",
    "scan_shards",
    "set_aside",
    "stopped",
    "survey_images",
    "survey_labels",
    "survey_npz",
    "take_channels",
    "teacher_model_config",
    "trained_on",
    "unfit_for_configs",
    "with_teacher",
    "write_list",
]
