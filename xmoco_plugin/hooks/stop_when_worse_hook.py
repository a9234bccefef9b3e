# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from ..checkpoint import write_text
from ..evaluation.verdict import WORSE
from .health_hook import VERDICT
from .run_facts import warms_up

STOPPED = "stopped.txt"
SHARE = 0.25  # of the run, that it is given in any case (ours)


@HOOKS.register_module()
class StopWhenWorseHook(Hook):
    """Ends a run that has become worse than the good weights that it began with.

    That is the verdict 'worse than it began' of :class:`HealthHook`: kNN more than two standard
    errors below the start's. It needs labels, and ``HealthHook(pretrained=True)``; a run from
    random weights has nothing to lose. What is handed over then is the best so far, by
    :class:`BestExportHook`. ``stopped.txt`` in the work dir says why.

    Never before the learning rate's warm-up is over and a share of the run is done: kNN may
    fall while the rate is at its highest, and come back.

    Args:
        min_share: of the run. Default 0.25 (ours); at least an epoch.
    """

    priority = "VERY_LOW"  # when the verdict is there and the export is made

    def __init__(self, min_share: float = SHARE) -> None:
        if not 0 <= min_share <= 1:
            raise ValueError(f"min_share is a share of the run, in [0, 1], got {min_share}")
        self.min_share = min_share
        self._training = False

    def before_train(self, runner: Runner) -> None:
        self._training = True
        if is_main_process():
            (Path(runner.work_dir) / STOPPED).unlink(missing_ok=True)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        said = runner.message_hub.runtime_info.get(VERDICT) or {}
        if not self._training or runner.iter == 0 or said.get("iter") != runner.iter:
            return
        if said.get("verdict") != WORSE or not self.is_due(runner):
            return
        runner.train_loop.stop_training = True
        text = f"stopped at {_place(runner)}: {WORSE}: {said.get('reason')}"
        runner.logger.warning(text)
        if is_main_process():
            write_text(Path(runner.work_dir) / STOPPED, text + "\n")

    def after_train(self, runner: Runner) -> None:
        self._training = False

    def is_due(self, runner: Runner) -> bool:
        """Whether the run has had what it is given in any case."""
        if warms_up(runner) or runner.iter >= runner.max_iters:
            return False
        return runner.iter >= math.ceil(self.min_share * runner.max_iters)


def _place(runner: Runner) -> str:
    if isinstance(runner.train_loop, EpochBasedTrainLoop):
        return f"epoch {runner.epoch} of {runner.max_epochs}"
    return f"iteration {runner.iter} of {runner.max_iters}"
