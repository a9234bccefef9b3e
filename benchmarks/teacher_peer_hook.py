# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of teacher_peer.py that runs in our training: when steps ended, and the pass' seconds."""

import time
from typing import Any

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from teacher_peer_clock import Stamps

from xmoco_plugin.teachers import FrozenTeacher, StoredFeatures


@HOOKS.register_module()
class StepClockHook(Hook):
    """Writes down the time at the end of steps; of the teacher's pass its images and seconds.

    Args:
        file, steps, warm_up: see ``Stamps``.
        float32: the teacher computes in it, even where it would take bfloat16 by itself.
    """

    priority = "LOWEST"  # a step has ended when all others have done what they do after it

    def __init__(self, file: str, steps: int, warm_up: int, float32: bool = False) -> None:
        if float32:
            FrozenTeacher.in_bfloat16 = lambda self, device: False  # type: ignore[method-assign]
        self.stamps = Stamps(file, steps, warm_up)
        passed = dict(images=0, pass_wall=0.0, pass_cpu=0.0)
        self.stamps.add(**passed)
        fill = StoredFeatures.fill

        def timed(stored: StoredFeatures, *args: Any, **kwargs: Any) -> None:
            done, wall, cpu = stored.done, time.perf_counter(), time.process_time()
            fill(stored, *args, **kwargs)
            passed["images"] += stored.done - done
            passed["pass_wall"] += time.perf_counter() - wall
            passed["pass_cpu"] += time.process_time() - cpu
            self.stamps.add(**passed)

        StoredFeatures.fill = timed  # type: ignore[method-assign,assignment]

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        self.stamps.note()
