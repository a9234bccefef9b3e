# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Iterable
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class LowerRateHook(Hook):
    """Multiplies the learning rate, and what its schedule goes by, before training begins.

    Also of a resumed run, whose rate and schedule come from the checkpoint whatever the config
    says. The checkpoints that follow hold the lower rate: a run that goes on from them keeps it.

    Args:
        factor: Above 0.

    Raises:
        ValueError: The factor is not.
    """

    priority = "VERY_LOW"

    def __init__(self, factor: float) -> None:
        if not factor > 0:
            raise ValueError(f"factor must be above 0, got {factor}")
        self.factor = factor

    def before_train(self, runner: Runner) -> None:
        wrapper = runner.optim_wrapper
        parts = dict(wrapper.items()) if hasattr(wrapper, "items") else {"": wrapper}
        for part in parts.values():
            for group in part.optimizer.param_groups:
                for name in ("lr", "initial_lr"):
                    if name in group:
                        group[name] = group[name] * self.factor
        for scheduler in _schedulers(runner.param_schedulers):
            if getattr(scheduler, "param_name", "lr") == "lr":
                scheduler.base_values = [v * self.factor for v in scheduler.base_values]
                scheduler._last_value = [v * self.factor for v in scheduler.get_last_value()]


def _schedulers(found: Any) -> Iterable[Any]:
    if isinstance(found, dict):
        return [scheduler for part in found.values() for scheduler in part]
    return found or []
