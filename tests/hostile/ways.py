# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every way in which a tool takes a file.

A way whose file is named by the user and runs code by design (a config) stands in ``BY_DESIGN``.
"""

from .ways_data import DATA, IMAGES
from .ways_runs import RUNS
from .ways_weights import WEIGHTS

WAYS = [*WEIGHTS, *IMAGES, *DATA, *RUNS]
# What the user names and what runs code by design, with the reason.
BY_DESIGN = {
    "config": "a config is a program, and the user names it",
    "base": "a config is a program, and the user names it",
    "cfg_options": "settings that the user types",
}
# No files, or files that are written.
NO_FILE = set(
    """
    out amp no_pin_memory launcher local_rank work_dir no_validate auto_scale_lr
    no_persistent_workers protocol image_size augment batch_size workers jobs ks temperatures lrs
    weight_decays costs shots recalls epochs rule normalize layout encoder force to k temperature
    task seeds gpus max_iters shares share_iters same_images raw shorter_side quality verify number
    runs seed model images sort format queue_len momentum lr crop_scale verbose test_out max_pixels
    max_unpacked max_members plain_names keep_going config_as_data teacher_model teacher_views
    teacher_size yes prefix bit_depth on_nan checkpoint_minutes method rates
    global_batch
    teacher_beside_moco key_view tiles channels shard_mb cache cache_gb near exact one_per_group
    sheet teacher_channels
    """.split()  # noqa: SIM905
)
# Options whose file comes in by a way above under another name.
COVERED = {
    "data_root": "--data-root",
    "train_images": "--train-images",
    "val_images": "--train-images",
    "train_annotations": "--train-annotations",
    "val_annotations": "--val-annotations",
    "data": "--data",
    "labels": "--labels",
    "init": "--init",
    "into": "--into",
    "teacher": "--teacher",
    "resume": "--resume",
    "imagenet": "--imagenet",
    "labelled": "--labelled",
    "starts": "--starts",
    "sources": "sources",
    "against": "--against",
    "checkpoint": "checkpoint",
    "folder": "folder",
    "folders": "folders",
    "work_dirs": "work_dirs",
    "pack": "inspect",
    "replay": "--replay",
}
