# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

# Of a schedule's state what runs on, and of an optimizer's groups what the schedule sets.
RUNNING = {"last_step", "_global_step", "_last_value", "base_values", "verbose", "param_name"}
SET_BY_SCHEDULES = {"params", "lr", "momentum", "betas"}


@HOOKS.register_module()
class ResumedHook(Hook):
    """Says what a resumed run takes from its checkpoint where the config says something else.

    mmengine restores schedules and the optimizer's settings whole, so that a longer ``T_max`` or
    another learning rate in the config changes nothing. And it restores the log: what the model
    that goes on does not compute any more, such as another algorithm's loss terms, would be printed
    with its last value for ever; it is taken out after the first iteration.
    """

    priority = "NORMAL"  # when the values of an iteration are there, before they are logged

    def __init__(self) -> None:
        self._kept: dict[str, int] = {}

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare, between reading the file and taking its state over."""
        if not runner._resume:
            return
        unlike = [*_schedules(runner, checkpoint), *_optimizer(runner, checkpoint)]
        if unlike:
            runner.logger.warning(
                "resumed: these come from the checkpoint, whatever the config says: "
                f"{'; '.join(unlike)}. load_from=FILE, resume=False begins a new schedule, the "
                "config's, from these weights."
            )

    def before_train(self, runner: Runner) -> None:
        self._kept = {}
        if runner.iter > 0:
            self._kept = _lengths(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Forget what is not computed any more."""
        if not self._kept:
            return
        now, kept = _lengths(runner), self._kept
        self._kept = {}
        every = kept.get("train/loss", 0)  # logged in each iteration, as every term is
        stale = [k for k, n in kept.items() if now.get(k) == n == every]
        for name in stale:
            runner.message_hub.log_scalars.pop(name)
        if stale:
            names = ", ".join(name.removeprefix("train/") for name in stale)
            runner.logger.info(f"resumed: no longer computed, so no longer logged: {names}")


def _lengths(runner: Runner) -> dict[str, int]:
    hub = runner.message_hub.log_scalars
    return {k: len(v.data[0]) for k, v in hub.items() if k.startswith("train/")}


def _schedules(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[str]:
    ours, theirs = runner.param_schedulers, checkpoint.get("param_schedulers")
    if not isinstance(ours, list) or not isinstance(theirs, list):
        return
    if len(ours) != len(theirs):
        yield f"{len(theirs)} schedules (config: {len(ours)})"
    for number, (scheduler, state) in enumerate(zip(ours, theirs, strict=False)):
        name = f"param_scheduler.{number} ({type(scheduler).__name__})"
        mine = scheduler.state_dict()
        unlike = [
            f"{key}={state[key]!r} (config: {mine[key]!r})"
            for key in mine
            if key not in RUNNING and key in state and state[key] != mine[key]
        ]
        if unlike:
            yield f"{name} {', '.join(unlike)}"


def _optimizer(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[str]:
    groups = (checkpoint.get("optimizer") or {}).get("param_groups")
    ours = getattr(runner.optim_wrapper, "param_groups", None)
    if not groups or not ours or not isinstance(ours, list):
        return
    mine, theirs = ours[0], groups[0]
    names = {"initial_lr": "lr"}
    unlike = [
        f"{names.get(key, key)}={theirs[key]!r} (config: {mine[key]!r})"
        for key in mine
        if key not in SET_BY_SCHEDULES and key in theirs and theirs[key] != mine[key]
    ]
    if unlike:
        yield f"optimizer {', '.join(unlike)}"
