# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Numbers of a config that no training can have, found before one begins."""

import math
from collections.abc import Mapping
from typing import Any

from ..untrusted import printable
from ..untrusted.run_settings import walk
from .errors import PretrainError

# Whole numbers by the place in the config, with the least of each.
LEAST = {
    "train_cfg.max_epochs": 1,
    "train_cfg.max_iters": 1,
    "train_cfg.val_interval": 1,
    "train_dataloader.batch_size": 1,
    "train_dataloader.num_workers": 0,
    "val_dataloader.batch_size": 1,
    "val_dataloader.num_workers": 0,
    "optim_wrapper.accumulative_counts": 1,
}
FINITE = ("train_cfg", "optim_wrapper", "param_scheduler", "train_dataloader", "auto_scale_lr")
RATES = ("lr", "base_lr", "weight_decay")


def check_numbers(cfg: Mapping[str, Any]) -> None:
    """Makes sure that a training can have the numbers of its config.

    Raises:
        PretrainError: Names the first that it cannot, and what is asked.
    """
    for place, value in walk({key: cfg[key] for key in FINITE if key in cfg}):
        if not isinstance(value, float) and not isinstance(value, int):
            continue
        rate = place.rpartition(".")[2] in RATES
        if math.isnan(value) or (rate and not 0 <= value < math.inf):
            asked = "a finite number of at least 0" if rate else "a number"
            raise PretrainError(
                f"{place} is {value}, and must be {asked}: look in the config and in --cfg-options."
            )
    for place, least in LEAST.items():
        part, _, key = place.partition(".")
        settings = cfg.get(part)
        value = settings.get(key, least) if isinstance(settings, Mapping) else least
        if value is not None and (not isinstance(value, int) or value < least):
            raise PretrainError(
                f"{place} is {printable(repr(value))[:80]}, and must be a whole number of at least "
                f"{least}: look in the config and in --cfg-options."
            )
